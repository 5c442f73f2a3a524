"""Hooks of MkDocs: a file outside `docs/` that a page links to has a page of the site as well.

A link such as `../bert_lightning/batch.py` works in the repository; on the site it leads to a page
with the text of that file, or of a folder with the names in it.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<=\]\()\.\./([^)#\s]+)")
_COPIED = (".ipynb", ".png")
_PAGE = """---
search:
  exclude: true
---

# {name}

````{language}
{text}
````
"""


def on_files(files: Files, config: Any) -> Files:
    """Adds what the pages link to outside `docs/`."""
    pages = [file.content_string for file in files if file.src_uri.endswith(".md")]
    for name in sorted({link[1] for page in pages for link in _LINK.finditer(page)}):
        path, level = _ROOT / name, InclusionLevel.NOT_IN_NAV
        if path.suffix in _COPIED:
            files.append(File.generated(config, _place(name), abs_src_path=str(path)))
        elif path.exists():  # else MkDocs says that a link leads nowhere
            files.append(File.generated(config, _place(name), content=_page(path), inclusion=level))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leads the links of a page out of `docs/` to them."""
    return _LINK.sub(lambda link: _place(link[1]), markdown)


def _place(name: str) -> str:
    name = name.rstrip("/")
    return f"source/{name}" if name.endswith(_COPIED) else f"source/{name}.md"


def _page(path: Path) -> str:
    if path.is_dir():
        text = "\n".join(sorted(child.name for child in path.iterdir()))
    else:
        text = path.read_text(encoding="utf-8")
    language = {".py": "python", ".sh": "bash"}.get(path.suffix, path.suffix[1:])
    return _PAGE.format(name=path.relative_to(_ROOT), language=language, text=text)
