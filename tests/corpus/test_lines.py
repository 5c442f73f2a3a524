"""The lines of a file: every line end, UTF-8 alone, and the command that makes UTF-8 of others."""

import gzip
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from reading import documents_of, read, refusal

from bert_lightning.corpus.readers import lines
from bert_lightning.corpus.readers.lines import read_lines

CASES = Path(__file__).parents[3] / "shared" / "cases"
ENGLISH = "It rained, and we left. The crane flew.\nThe river is wide. It is old.\n" * 3
CHINESE = "今天下雨，一个人走了。他很老。\n河很宽。我们一起去看。\n" * 3
KOREAN = "오늘 비가 왔다. 우리는 떠났다.\n강이 넓다. 오래되었다.\n" * 3


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_every_line_end_ends_a_line(tmp_path: Path, end: str, name: str) -> None:
    content = f"A b. C d.{end}E f. G h.{end}{end}I j. K l.".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert documents_of(tmp_path / name) == [
        [["A b.", "C d."], ["E f.", "G h."]],
        [["I j.", "K l."]],
    ]


def test_nothing_else_ends_a_line(tmp_path: Path) -> None:
    """`str.splitlines` would end one at each of these."""
    text = "A\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert list(read_lines(tmp_path / "a.txt")) == [text]
    assert documents_of(tmp_path / "a.txt") == [[["A b c d e f g h i"]]]


@pytest.mark.parametrize("extra", ["", "\r", "\n", "\r\n", " \r\n"])
def test_a_line_of_just_the_limit_is_no_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 8)
    for length in range(6, 20):
        (tmp_path / "a.txt").write_text("x" * length + extra + "y", newline="")
        found = list(read_lines(tmp_path / "a.txt"))
        assert "".join(found).strip() == ("x" * length + extra.strip("\r\n") + "y")
        assert all(found)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, KOREAN])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", *(
    f"utf-{bits}-{order}" for bits in (16, 32) for order in ("le", "be")
)])  # fmt: skip
@pytest.mark.parametrize("name", ["a b.txt", "a.csv"])
@pytest.mark.skipif(shutil.which("iconv") is None, reason="needs iconv")
def test_the_command_for_other_unicode_gives_the_text(
    tmp_path: Path, text: str, encoding: str, name: str
) -> None:  # BAD_INPUT 41
    file = tmp_path / name
    text = "text\n" + text.replace("\n", '"\n').replace("。\n", "\n") if "csv" in name else text
    file.write_bytes(text.encode(encoding))
    message = refusal(file)
    assert f"it is {encoding[:6].upper()}" in message
    assert ("without a byte order mark" in message) == ("-" in encoding[4:])
    subprocess.run(message.partition("for example: ")[2], shell=True, check=True)
    new = file.with_name(f"{file.stem}.utf8{file.suffix}")
    assert new.read_text(encoding="utf-8").removeprefix("\ufeff") == text


def test_the_case_of_the_issue() -> None:
    message = refusal(CASES / "utf16-with-bom.txt")
    assert "is not UTF-8: byte 0 is 0xff; it is UTF-16: convert it" in message


@pytest.mark.parametrize(
    ("packed", "what", "command"),
    [
        (["zip", "-q", "a.zip", "a.txt"], "a zip archive", "unzip"),
        (["xz", "-k", "-S", ".x", "a.txt"], "an xz file", "mv"),
        (["sh", "-c", "bzip2 < a.txt > a"], "a bzip2 file", "mv"),
        (["tar", "-cf", "a.tar", "a.txt"], "a tar archive", "tar -xf"),
        (["gzip", "-k", "-S", ".z", "a.txt"], "a gzip file", "mv"),
    ],
)
def test_the_command_for_an_archive_gives_the_text(
    tmp_path: Path, packed: list[str], what: str, command: str
) -> None:
    (tmp_path / "a.txt").write_text(ENGLISH)
    if packed[0] == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(tmp_path / "a.txt", "a.txt")
    elif shutil.which(packed[0]) is None:
        pytest.skip(f"needs {packed[0]}")
    else:
        subprocess.run(packed, cwd=tmp_path, check=True)
    (tmp_path / "a.txt").unlink()
    (file,) = tmp_path.iterdir()
    message = refusal(file)
    assert f"it is {what}" in message
    shell = message.partition("for example: ")[2]
    assert shell.startswith(command)
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"needs {shell.split()[0]}")
    subprocess.run(shell, shell=True, check=True, cwd=tmp_path, capture_output=True)
    file.unlink(missing_ok=True)
    assert len(documents_of(f"{tmp_path}/*")) == 1


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize(
    ("content", "at", "says"),
    [
        ("Grüße".encode("latin-1"), 2, "is 0xfc; it is another encoding, of Western Europe"),
        ("Grüße\n".encode() * 20_000 + b"\xe9", 160_000, "iconv -f windows-1252 -t utf-8"),
        ("é".encode() * 40_000 + b"\xc3", 80_000, "is 0xc3"),
        (b"\xef\xbb\xbfab\xff", 5, "is 0xff"),
        (b"A b. " * 30_000 + b"\0", 150_000, "is NUL, which is no text; it is a binary file"),
        (b"\0" * 9, 0, "tr -d '\\000' <"),
        (b"\x80" * 200, 0, "is 0x80"),
    ],
)
def test_the_first_byte_that_is_no_text_is_named(
    tmp_path: Path, name: str, content: bytes, at: int, says: str
) -> None:  # BAD_INPUT 12
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    message = refusal(file)
    assert f"{file} is not UTF-8: byte {at} is" in message
    assert says in message


def test_one_file_of_a_folder_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(ENGLISH)
    (tmp_path / "b.txt").write_bytes("Grüße. Bis bald.".encode("cp1252"))
    assert f"{tmp_path}/b.txt is not UTF-8: byte 2" in refusal(tmp_path)


def test_an_error_of_the_disk_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(ENGLISH)

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", str(tmp_path / "a.txt"))

    with monkeypatch.context() as patched:
        patched.setattr("bert_lightning.corpus.sources.hash_text_files", fail)
        assert "a.txt cannot be read: Input/output error" in refusal(tmp_path)
    monkeypatch.setattr(Path, "open", fail)
    assert f"{tmp_path}/a.txt cannot be read: Input/output error" in refusal(tmp_path)


@pytest.mark.parametrize("size", [100, 20_000, 400_000])
def test_a_damaged_file_in_another_encoding_is_refused_for_either(
    tmp_path: Path, size: int
) -> None:
    content = b"\xc3" + b" ".join(b"%d" % (n * n) for n in range(size // 5))[:size]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content)[:-9])
    says = "is not UTF-8: byte 0" if size > 100_000 else "cannot be decompressed: "
    assert f"a.txt.gz {says}" in refusal(tmp_path)


def test_a_mark_before_utf8_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + ENGLISH.encode())
    assert read(tmp_path)[0][0][0][0] == "It rained, and we left."
