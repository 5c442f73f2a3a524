"""A page in a real browser without a network."""

from pathlib import Path

import pytest
from browser import Chromium
from run_pages import EVIL, leave

from bert_lightning.reports.page.pages import write_run_page


@pytest.mark.slow
def test_it_shows_without_errors_or_requests_on_a_screen_and_on_a_phone(
    tmp_path: Path, chromium: Chromium
) -> None:
    file, page = write_run_page(leave(tmp_path / "run")), chromium.page
    page.context.set_offline(True)
    told = list[str]()
    page.on("console", lambda message: told.append(message.text))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    for width in (1200, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("svg").first.bounding_box()["height"] > 100
    assert EVIL in page.inner_text("body")
    assert not told
    assert not chromium.errors
    assert chromium.requests == [file.as_uri()] * 2
