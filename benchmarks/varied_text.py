"""Makes varied prose of what a machine has: its documentation, manual pages, text of your own.

python -m benchmarks.varied_text NEW_FOLDER /usr/share/doc /usr/share/man --megabytes 80

Reads `.txt`, `.md`, `.rst`, `.html`, WikiText, the docstrings of `.py` and manual pages (by groff),
compressed or not. A block between blank lines becomes one line, a file one document; blocks that
are no prose, and those that stood in another file, are left out. The same files give the same
text.
"""

import argparse
import ast
import gzip
import hashlib
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from bert_lightning.errors import UserError, exit_on_user_error
from bert_lightning.work import working

SHORTEST = 120
"""Characters of a block of prose."""
LETTERS = 0.75
"""The least fraction of them that are letters or spaces."""
_MEGABYTES_OF_FILE = 8
_MANUAL = re.compile(r".*\.[1-8][a-z]*")
_BLOCKS = frozenset(
    [
        "p",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "dt",
        "dd",
        "td",
        "th",
        "div",
        "pre",
        "blockquote",
        "section",
    ]
)
_NO_TEXT = frozenset(["script", "style", "pre", "code", "nav"])


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("folders", type=Path, nargs="+", help="with text files below them")
    parser.add_argument("--megabytes", type=float, default=80, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.output.exists():
        raise UserError(f"{args.output} exists: name a new folder")
    args.output.mkdir(parents=True)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    written = part = 0
    with working("collecting", args.megabytes, "MB") as work:
        for document in documents(in_fixed_order(args.folders)):
            if written > part * _MEGABYTES_OF_FILE * 10**6:
                part += 1
            with (args.output / f"{part:03}.txt").open("ab") as stream:
                size = stream.write("\n".join([*document, "", ""]).encode())
            written += size
            work.advance(size / 1e6)
            if written >= args.megabytes * 10**6:
                break
    print(f"{written / 1e6:.1f} MB of prose in {args.output}")


def in_fixed_order(folders: Sequence[Path]) -> list[Path]:
    """Returns the files below the folders, mixed: in the order of the hash of their paths."""
    found = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return sorted(set(found), key=lambda file: hashlib.sha256(str(file).encode()).digest())


def documents(files: Sequence[Path]) -> Iterator[list[str]]:
    """Yields the blocks of prose of each file, without those that were in one before."""
    seen = set[bytes]()
    for file in files:
        blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text_of(file)))
        prose = {hashlib.md5(block.encode()).digest(): block for block in blocks if is_prose(block)}
        if new := [block for key, block in prose.items() if key not in seen]:
            seen |= prose.keys()
            yield new


def is_prose(block: str) -> bool:
    words = sum(character.isalpha() or character == " " for character in block)
    return len(block) >= SHORTEST and words >= LETTERS * len(block)


def text_of(file: Path) -> str:
    """Returns the text of a file, and none of a file of another kind."""
    name = file.name.removesuffix(".gz")
    manual = _MANUAL.fullmatch(name) and "man" in file.parent.name and shutil.which("groff")
    if not manual and not name.endswith((*_READERS, ".txt", ".md", ".rst", ".tokens")):
        return ""
    content = file.read_bytes()
    if name != file.name:
        content = gzip.decompress(content)
    if manual:
        # Lines without end, so that a block is not broken; -K: the page's encoding.
        command = [
            "groff",
            "-mandoc",
            "-Tutf8",
            "-Kutf8",
            "-P-cbou",
            "-rLL=10000n",
            "-rHY=0",
            "-dAD=l",
        ]
        content = subprocess.run(command, input=content, capture_output=True, check=False).stdout
    text = content.decode("utf-8", "ignore")
    reader = _READERS.get(Path(name).suffix)
    return (reader(text) if reader else text).replace("\0", "")


def _docstrings(code: str) -> str:
    try:
        nodes = [*ast.walk(ast.parse(code))]
    except (SyntaxError, ValueError, RecursionError):
        return ""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = (ast.get_docstring(node) for node in nodes if isinstance(node, documented))
    return "\n\n".join(filter(None, found))


def _without_tags(page: str) -> str:
    reader = _Reader()
    reader.feed(page)
    return "".join(reader.parts)


class _Reader(HTMLParser):
    """Collects the text of a page; blocks are separated by blank lines."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent += tag in _NO_TEXT - {"code"}
        self.parts += ["\n\n"] * (tag in _BLOCKS)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _NO_TEXT - {"code"}
        self.parts += ["\n\n"] * (tag in _BLOCKS)

    def handle_data(self, data: str) -> None:
        if self._silent <= 0:
            self.parts.append(re.sub(r"\n\s*\n", "\n", data))


_READERS = {".html": _without_tags, ".py": _docstrings}
"""What takes the text out of a file, by its ending."""


if __name__ == "__main__":
    main()
