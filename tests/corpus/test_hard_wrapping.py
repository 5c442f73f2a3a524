"""Hard line breaks are recognized by the lengths of lines; verses, drills and code have none."""

import textwrap
from pathlib import Path

import pytest
from reading import config_of, documents_of, read, read_source

from bert_lightning.corpus.readers.layout.hard_wrapping import is_hard_wrapped, joined
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.sources import find_source

MANUAL = """\
NAME
       weigh - show how heavy the files of a folder are

SYNOPSIS
       weigh [-a] [-u UNIT] [FOLDER]...

DESCRIPTION
       Adds up the sizes of all files below each FOLDER, the working directory
       by default, and prints one line for each of them. A file with several
       names counts once. Folders on other file systems are passed over, since
       their size would say nothing about the disk that is full.

       The order of the lines is that of the command line; with -s the largest
       come first. Sizes are rounded up, so that a file of a single byte takes
       one unit, as it does on the disk.

OPTIONS
       -a     Count hidden files too, which are left out otherwise, together
              with all that is in folders whose names begin with a period.

       -u UNIT
              Print sizes in UNIT, which is one of k, M and G, for thousands,
              millions and billions of bytes; the default fits each size.

BUGS
       The result is wrong while a file grows. Nothing can be done about this
       but to ask again when the program that writes it has ended.
"""
PROSE = (
    "The river rose in the night and took the lower bridge with it, so that nobody came to the "
    "market in the morning. The baker gave away what he had, and the children thought that it was "
    "a holiday. By noon the water had gone down, and the men went to look for the beams of the "
    "bridge in the meadows, where they found most of them, and a boat that belonged to no one. "
)
SONNET = """\
The winter came before the fields were sown,
And every lane was white from hedge to hill;
The crows alone went over, one by one,
To where the smoke was rising from the mill.
Within, the miller's daughter turned the page
Of some old book that nobody had read,
And thought of sailors of another age
Who never saw the winter, it was said.
The wheel stood still, the river was a stone,
The cat lay sleeping underneath the chair,
And all the lights of heaven and earth were gone
Except the one small lamp that flickered there.
"""
CODE = """\
def weigh(folder, hidden=False):
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and (hidden or not path.name.startswith(".")):
            total += path.stat().st_size
    return total
def show(folders, unit=None):
    for folder in folders:
        size = weigh(folder)
        print(f"{size / UNITS[unit or fitting(size)]:10.1f} {folder}")
def main():
    parser = argparse.ArgumentParser(description="shows how heavy folders are")
    parser.add_argument("folders", nargs="*", default=["."])
    show(parser.parse_args().folders)
"""
CHINESE = "河水在夜里涨了起来，冲走了下面的桥，所以早上没有人来赶集。面包师把面包都送给了别人。" * 8


def lines(text: str) -> list[str]:
    return text.splitlines()


@pytest.mark.parametrize("width", [60, 72, 80, 120])
def test_prose_of_any_width(width: int) -> None:
    assert is_hard_wrapped(textwrap.wrap(PROSE * 4, width))


def test_a_manual_page() -> None:
    assert is_hard_wrapped(lines(MANUAL))


def test_chinese() -> None:
    assert is_hard_wrapped([CHINESE[start : start + 35] for start in range(0, len(CHINESE), 35)])


@pytest.mark.parametrize(
    "text",
    [
        SONNET * 3,
        CODE * 3,
        "".join(f"The {n} cranes stood near the harbor.\n" for n in range(10, 60)),
        "".join(f"{PROSE[: 97 * n % 300 + 20]}\n" for n in range(40)),
        "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n" * 20,
        "".join(f"{sentence}。\n" for sentence in CHINESE.split("。") if sentence),
        "\n\n".join(textwrap.wrap(PROSE * 4, 72)),
        "A long\nsentence. And\nanother.\n",
    ],
    ids=["verses", "code", "drill", "paragraphs", "poem", "sentences", "blank lines", "short"],
)
def test_what_is_not(text: str) -> None:
    assert not is_hard_wrapped(lines(text))


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (["a long", "sentence."], "a long sentence."),
        (["a well-", "known one"], "a well-known one"),
        (["exam\u2010", "ple"], "exam\u2010ple"),
        (["exam\u00ad", "ple"], "example"),
        (["from 3 -", "or 4"], "from 3 - or 4"),
        (["see page 3-", "of it", "Mont-", "Blanc"], "see page 3- of it Mont- Blanc"),
        (["河水在夜里", "涨了起来"], "河水在夜里涨了起来"),
        (["河水 in", "夜里"], "河水 in 夜里"),
    ],
)
def test_joining(block: list[str], text: str) -> None:
    assert joined(block) == text


def test_each_file_by_itself_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MANUAL, encoding="utf-8")
    (tmp_path / "b.txt").write_text("One. Two.\nThree. Four.\n", encoding="utf-8")
    manual, plain = documents_of(tmp_path)
    assert len(manual) == 7
    assert manual[2][0].endswith("prints one line for each of them.")
    assert plain == [["One.", "Two."], ["Three.", "Four."]]


def test_the_option_settles_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MANUAL, encoding="utf-8")
    wrapped, unwrapped = (
        sum(map(len, documents_of(tmp_path / "a.txt", hard_wrapped=option)))
        for option in (True, False)
    )
    assert (wrapped, unwrapped) == (7, 21)
    assert read(tmp_path / "a.txt", hard_wrapped=True)[0] == documents_of(tmp_path / "a.txt")


def test_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MANUAL, encoding="utf-8")
    left_out = LeftOut()
    list(read_source(find_source(config_of(tmp_path), 1), left_out))
    (remark,) = left_out
    assert remark.fate == "Read as text with hard line breaks"
    assert "a.txt); data.hard_wrapped=false takes each line for a paragraph" in str(remark)
