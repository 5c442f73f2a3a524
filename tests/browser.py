"""Headless Chromium, for tests that look at a page as its readers do.

A test takes the fixture `chromium` and calls `chromium.page.goto(url)`, of a `file:` too. Names of
other machines are not resolved, and what a page asked of them is in `chromium.outside`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

WIDTH, HEIGHT = 1200, 900
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_LOCAL = ("", "127.0.0.1", "localhost")
"""Hosts of this machine; a `file:`, a `data:` and a `blob:` have none."""


@dataclass
class Chromium:
    """A page of `WIDTH` × `HEIGHT` pixels, with what it asked for and complained of."""

    page: Any
    """Playwright's synchronous Page."""
    requests: list[str] = field(default_factory=list)
    """The URL of each request, WebSockets included."""
    errors: list[str] = field(default_factory=list)
    """Errors of scripts, and what the console shows as an error."""

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type == "error" else None,
        )

    @property
    def outside(self) -> list[str]:
        """The requests that left this machine, or would have."""
        return [url for url in self.requests if (urlsplit(url).hostname or "") not in _LOCAL]


@contextmanager
def opened() -> Iterator[Chromium]:
    """Headless Chromium with an empty page; skips where the program or Playwright is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(_PROGRAMS)} is installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=_FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(60_000)  # this may be a busy machine
        yield Chromium(page)
        browser.close()


@pytest.fixture
def chromium() -> Iterator[Chromium]:
    """That Chromium for one test.

    Playwright's event loop runs in this thread while it is open, where another test would find it.
    """
    with opened() as found:
        yield found
