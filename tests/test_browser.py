"""The fixture that shows pages: what leaves the machine is seen, and so are a page's errors."""

from pathlib import Path

import pytest
from browser import Chromium


@pytest.mark.slow
def test_requests_that_leave_the_machine_are_seen(chromium: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>local</p><img src='http://192.0.2.1/a.png'><script>fails()</script>")
    chromium.page.goto(page.as_uri())

    assert chromium.page.inner_text("p") == "local"
    assert chromium.outside == ["http://192.0.2.1/a.png"]
    assert any("fails is not defined" in error for error in chromium.errors)
