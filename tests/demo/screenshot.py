"""Makes the picture of docs/demo.md, of a page that `bert-lightning demo RUN` is serving.

PYTHONPATH=tests python tests/demo/screenshot.py http://127.0.0.1:7860 docs/demo.png
"""

import sys

from browser import opened


def main(url: str, file: str) -> None:
    with opened() as chromium:
        chromium.page.goto(url)
        chromium.page.locator(".answer .bars").first.wait_for()
        chromium.page.wait_for_load_state("networkidle")  # the other model has answered too
        chromium.page.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
