"""A page in a real browser without a network."""

from pathlib import Path

import pytest
from run_pages import EVIL, leave

from bert_lightning.reports.page.pages import write_run_page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.mark.slow
def test_it_shows_without_errors_or_requests_on_a_screen_and_on_a_phone(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser at {CHROMIUM}")
    file = write_run_page(leave(tmp_path / "run"))
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        context = browser.new_context(offline=True)
        page = context.new_page()
        told: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: told.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        for width in (1200, 400):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("svg").first.bounding_box()["height"] > 100
        assert EVIL in page.inner_text("body")
        browser.close()
    assert not told
    assert requests == [file.as_uri()] * 2
