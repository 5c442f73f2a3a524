"""The files of `data.path`: each once, none in silence, and nothing that hangs."""

import os
import socket
import sys
from pathlib import Path

import pytest
from reading import config_of, documents_of, read, refusal

from bert_lightning.config import CorpusConfig, CorpusSource, PairKind, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers import find_files
from bert_lightning.corpus.readers.left_out import LEFT_OUT, LeftOut, Omission, shown
from bert_lightning.corpus.sources import find_source
from bert_lightning.errors import UserError

HIDDEN, OTHER = "hidden files and folders", "files of other kinds"
UNNAMED = "files without an ending that hold no UTF-8 text"
NOWHERE, SPECIAL = "links that lead nowhere", "pipes, sockets and devices"
FOLDER_AGAIN = "links to folders that are read already"
FILE_AGAIN = "links to files that are read already"
UNREADABLE = "files and folders that cannot be read"

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform == "win32", reason="names, links and pipes of other systems"),
]


def put(path: Path, word: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{word or path.stem} flew. It rained.\n")
    return path


def words(path: Path | str) -> list[str]:
    return [document[0][0].split()[0] for document in documents_of(path)]


def test_endings_are_read_in_capitals_too(tmp_path: Path) -> None:
    for name in ("a.TXT", "b.Txt.GZ", "c.txt"):
        put(tmp_path / name)
    (tmp_path / "b.Txt.GZ").unlink()
    put(tmp_path / "sub" / "d.TxT")
    assert words(tmp_path) == ["a", "c", "d"]


def test_what_a_folder_holds_beside_text_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # BAD_INPUT 43
    put(tmp_path / "a.txt")
    put(tmp_path / "book.txt" / "b.txt")  # a folder with the ending of a file
    for name in ("._a.txt", ".ipynb_checkpoints/a.txt", ".git/b.txt", "sub/.c.txt"):
        put(tmp_path / name)
    for name in ("c.md", "d.txt~", "e.docx"):
        put(tmp_path / name)
    (tmp_path / "image").write_bytes(b"\x89PNG\0")
    (tmp_path / "feed.xml").write_text("<rss/>")
    (tmp_path / "f.json").write_text('{\n "settings": 1\n}\n')
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "round.txt").symlink_to("round.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    monkeypatch.chdir(tmp_path)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind("s.txt")  # the length of an absolute one is limited
        documents, left_out = read(tmp_path)
    finally:
        server.close()
    assert [document[0][0] for document in documents] == ["a flew.", "b flew."]
    assert left_out == {HIDDEN: 4, OTHER: 5, UNNAMED: 1, NOWHERE: 2, SPECIAL: 2}


def test_what_is_left_out_is_told_with_names_and_a_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.txt", "b.txt", ".c.txt", "d.md", "e.md", "f.md", "g.md"):
        put(tmp_path / name)
    (tmp_path / "b.txt").write_text("\n")
    data = config_of(tmp_path, cache_dir=str(tmp_path / ".cache"))
    told = (
        f"Left out: 1 {HIDDEN} ({tmp_path}/.c.txt); data.path=NAME reads one.",
        f"Left out: 4 {OTHER} ({tmp_path}/d.md, {tmp_path}/e.md, {tmp_path}/f.md, …); of a folder",
        f"Left out: 1 files without a word ({tmp_path}/b.txt).",
    )
    for hidden in (1, 2):  # built, then opened beside its cache
        caplog.clear()
        corpus = prepare(data, TokenizerConfig(min_frequency=1), PairsConfig(PairKind.none))
        assert all(line in caplog.text for line in told[hidden - 1 :])
        counts = {one.what: one.count for one in corpus.left_out if one.fate == LEFT_OUT}
        assert counts == {HIDDEN: hidden, OTHER: 4, "files without a word": 1}


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.txt", "/**/**/*.txt", "/*"])
def test_links_are_followed_once_and_never_in_circles(tmp_path: Path, pattern: str) -> None:
    put(tmp_path / "real" / "a.txt")
    put(tmp_path / "text" / "b.txt")
    (tmp_path / "text" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "text" / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "text")
    assert sorted(words(f"{tmp_path}/text{pattern}")) == ["a", "b"]
    left_out = LeftOut()
    find_files.find_text_files(CorpusConfig(path=f"{tmp_path}/text{pattern}"), left_out)
    assert {omission.what for omission in left_out} <= {FOLDER_AGAIN, FILE_AGAIN}
    assert list(left_out)


def test_files_without_inodes_are_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network drives, which give every file the same number."""
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        put(tmp_path / name)
    state = Path.stat

    def without_inode(path: Path, **options: bool) -> os.stat_result:
        found = state(path, **options)
        return os.stat_result([found[0], 0, *found[2:]])

    monkeypatch.setattr(Path, "stat", without_inode)
    assert words(tmp_path) == ["a", "b", "c"]


def test_a_file_that_is_linked_twice_is_read_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("a.txt")
    (tmp_path / "c.txt").hardlink_to(tmp_path / "a.txt")
    put(tmp_path / "d.txt", "a")
    documents, left_out = read(tmp_path)
    assert (len(documents), left_out) == (2, {FILE_AGAIN: 2})
    copy = f"Read twice: 1 copies of other files ({tmp_path}/d.txt of {tmp_path}/a.txt)."
    assert copy in caplog.text


def test_what_cannot_be_read_is_left_out_of_a_folder_and_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses root nothing, so its answers are replaced."""
    for name in ("a.txt", "b.txt", "closed/c.txt"):
        put(tmp_path / name)
    entries = Path.iterdir

    def refuse(folder: Path) -> object:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return entries(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "b.txt")
    documents, left_out = read(tmp_path)
    assert (len(documents), left_out) == (1, {UNREADABLE: 2})
    assert f"{tmp_path}/b.txt: Permission denied" in refusal(tmp_path / "b.txt")


@pytest.mark.parametrize("path", ["", " ", "\t"])
@pytest.mark.parametrize("source", list(CorpusSource))
def test_an_empty_path_is_refused(source: CorpusSource, path: str) -> None:  # BAD_INPUT 42
    with pytest.raises(UserError, match="is empty: give a value, or omit the option"):
        CorpusConfig(source, path=path)


def test_a_path_that_is_no_file_is_refused_by_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    assert "pipe.txt is a pipe); text is read twice, so save it" in refusal(tmp_path / "pipe.txt")
    assert "/dev/null is a device" in refusal("/dev/null")
    assert f"1 {NOWHERE} ({tmp_path}/gone.txt: No such file" in refusal(tmp_path / "gone.txt")
    assert "of a folder, .txt, .csv, .tsv, .json" in refusal(tmp_path / "empty")
    assert f"no text in {tmp_path}/empty; of a folder" in refusal(f"{tmp_path}/empty/")


@pytest.mark.parametrize(
    "path", ["~nobody-here/a.txt", "a\0b", "a\0*", "x" * 300, "C:\\notes\\*.txt", "**/none.txt"]
)
def test_a_path_that_is_nowhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"data.path={shown(path)}: nothing at {tmp_path}" in refusal(path)


@pytest.mark.parametrize(
    "name",
    ["a[1].txt", "b=*.txt", "it's.txt", 'q"q.txt', "a::b.txt", "-n.txt", "~.txt", "ü ?.txt"],
)
def test_a_name_is_a_name_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / name, tmp_path / f"folder-{name}" / "a.csv"):
        put(path, "one")
    (tmp_path / f"folder-{name}" / "a.csv").write_text("text\none flew. It rained.\n")
    assert words(tmp_path / name) == ["one"]
    assert words(tmp_path / f"folder-{name}") == words(f"{tmp_path}/folder-{name}/") == ["one"]


@pytest.mark.parametrize(("name", "printed"), [(b"\xff.txt", "\\udcff.txt"), (b"a\nb", "a\\nb")])
def test_messages_have_names_in_printable_characters(
    tmp_path: Path, name: bytes, printed: str
) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))  # noqa: PTH118 -- bytes
    try:
        put(path, "one")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert words(path) == ["one"]
    path.write_bytes(b"\xff\xff")
    message = refusal(path)
    assert f"{tmp_path}/{printed} is not UTF-8" in message
    assert message.isprintable()


def test_a_path_in_the_home_folder_and_one_with_a_slash_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "notes" / "a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert words("~/notes/") == words("~/notes/*") == words("~/notes/a.txt") == ["a"]


def test_a_file_that_is_named_is_read_whatever_its_ending(tmp_path: Path) -> None:
    for name in ("README", "b.md", ".hidden"):
        assert words(put(tmp_path / name, "one")) == ["one"]
    assert words(f"{tmp_path}/*") == ["one", "one"]


@pytest.mark.slow
def test_a_folder_of_thousands_of_files_is_walked_at_once(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number}.txt").touch()
    put(tmp_path / "last.txt")
    assert read(tmp_path)[1] == {"files without a word": 3000}


class TestKey:
    """What is read differently is another corpus; what is read alike is the same."""

    @staticmethod
    def content(path: Path) -> object:
        data = CorpusConfig(CorpusSource.text, path=str(path))
        return find_source(data, 1).fingerprint["content"]

    def test_how_a_file_is_read_is_part_of_it(self, tmp_path: Path) -> None:
        names = {"a.txt": "a", "a.csv": "b", "a.tsv": "c", "a.jsonl": "d", "a.json": "d"}
        content = {}
        for name in names:
            (tmp_path / name).write_text('text\n{"text": "A b. C d."}\n')
            content[name] = self.content(tmp_path / name)
        assert len(set(content.values())) == 4
        assert content["a.json"] == content["a.jsonl"]

    def test_a_guess_is_part_of_it(self, tmp_path: Path) -> None:
        row = '{"text": "A b. C d."}\n'
        (tmp_path / "rows").write_text(row)
        (tmp_path / "rows.jsonl").write_text(row)
        (tmp_path / "text").write_text("\n" + row)
        assert self.content(tmp_path / "rows") == self.content(tmp_path / "rows.jsonl")
        assert self.content(tmp_path / "rows") != self.content(tmp_path / "text")

    def test_what_is_beside_the_text_is_not(self, tmp_path: Path) -> None:
        put(tmp_path / "a.txt")
        first = self.content(tmp_path)
        put(tmp_path / ".b.txt")
        put(tmp_path / "c.md")
        assert self.content(tmp_path) == first


def test_what_begins_as_a_table_does_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text('{"text": "A b. C d."}\n')
    assert documents_of(tmp_path) == [[["A b.", "C d."]]]
    assert f"1 files that begin as json does ({tmp_path}/a.txt); an empty first" in caplog.text
    caplog.clear()
    (tmp_path / "a.txt").write_text('\n{"text": "A b. C d."}\n')
    assert documents_of(tmp_path)[0][0][0].startswith('{"text"')
    assert not caplog.text


def test_an_omission_reads_as_a_line() -> None:
    left_out = LeftOut()
    for name in ("a", "b", "b", "c"):
        left_out.add("rows", name, "an option keeps them", count=500)
    (omission,) = left_out
    assert str(omission) == "2,000 rows (a, b, c, …); an option keeps them"
    (plain,) = left_out.to_plain()
    assert Omission(**plain) == omission
