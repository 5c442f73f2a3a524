"""Sources of text → documents, splits, and what a user is told when a source cannot be used."""

import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
from reading import read_source

from bert_lightning import hub
from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Format,
    PairKind,
    PairsConfig,
    TokenizerConfig,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers import lines, tables, text_files
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.sentences import SPLITTERS
from bert_lightning.corpus.sources import Document, find_source
from bert_lightning.errors import UserError

ROOT = Path(__file__).parents[2]
Maker = Callable[..., CorpusConfig]


@pytest.fixture(autouse=True)
def _own_table_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "tables")


@pytest.fixture
def text(tmp_path: Path) -> Maker:
    """Writes files and gives the config that reads them: `text({"a.txt": "…"}, format=…)`."""

    def make(files: dict[str, str | bytes], path: str = "text", **options: object) -> CorpusConfig:
        folder = tmp_path / "text"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / name).write_bytes(data)
        base = {
            "format": Format.prose,
            "validation_fraction": 0.0,
            "test_fraction": 0.0,
            "cache_dir": str(tmp_path / "cache"),
        }
        return CorpusConfig(source=CorpusSource.text, path=str(tmp_path / path), **(base | options))

    return make


def read(data: CorpusConfig) -> dict[str, list[Document]]:
    splits: dict[str, list[Document]] = {}
    for split, document in read_source(find_source(data, PairsConfig().min_documents), LeftOut()):
        splits.setdefault(split, []).append(document)
    return splits


def train(data: CorpusConfig) -> list[Document]:
    return read(data)["train"]


def prose(number: int) -> str:
    return f"This is document {number}. It has two sentences."


def failure(data: CorpusConfig, kind: PairKind = PairKind.sentence) -> str:
    with pytest.raises(UserError) as error:
        prepare(data, TokenizerConfig(), PairsConfig(kind))
    return str(error.value)


def test_wikitext_headings_separate_documents_and_section_headings_do_not(tmp_path: Path) -> None:
    lines = (
        " \n = One = \n \n a b . c . \n = = Part = = \n \n d . e f . \n \n = Two = \n g . h . \n"
    )
    for name in ("train", "valid", "test"):
        (tmp_path / f"wiki.{name}.tokens").write_text(lines)
    splits = read(CorpusConfig(path=str(tmp_path)))
    assert set(splits) == {"train", "validation", "test"}
    assert splits["train"] == [[["a b", "c ."], ["d", "e f ."]], [["g", "h ."]]]


def test_blank_lines_separate_documents_and_lines_are_paragraphs(text: Maker) -> None:
    data = text({"a.txt": "A b. C d.\nE f. G h.\n\n \nI j. K l.\r\n\r\nOne alone.\n"})
    assert train(data) == [[["A b.", "C d."], ["E f.", "G h."]], [["I j.", "K l."]]]


def test_hard_wrapped_joins_the_lines_of_a_block(text: Maker) -> None:
    data = text({"a.txt": "A long\nsentence. And\nanother.\n\nC d. E f.\n"}, hard_wrapped=True)
    assert train(data) == [[["A long sentence.", "And another."]], [["C d.", "E f."]]]


def test_text_in_wikitext_format_is_parted_at_headings(text: Maker) -> None:
    data = text({"a.txt": " = A = \n a . b . \n = B = \n c . d . \n"}, format=Format.wikitext)
    assert train(data) == [[["a", "b ."]], [["c", "d ."]]]


def test_a_file_a_folder_and_a_pattern_are_read_in_sorted_order(text: Maker) -> None:
    files = {"b.txt": prose(2), "a.txt": prose(1), "c.md": prose(3)}
    assert [d[0][0] for d in train(text(files))] == ["This is document 1.", "This is document 2."]
    assert len(train(text(files, path="text/b.txt"))) == 1
    assert [d[0][0][-2] for d in train(text(files, path="text/*.*"))] == ["1", "2", "3"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_each_row_of_a_table_is_a_document(text: Maker, tmp_path: Path, kind: str) -> None:
    rows = [f"{prose(n)}\nA second paragraph. It is short." for n in range(3)]
    table = datasets.Dataset.from_dict({"number": [0, 1, 2], "body": rows})
    (tmp_path / "text").mkdir()
    file = str(tmp_path / "text" / f"table.{kind}")
    {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](file)
    documents = train(text({}, text_column="body"))
    assert documents == [
        [
            [f"This is document {n}.", "It has two sentences."],
            ["A second paragraph.", "It is short."],
        ]
        for n in range(3)
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_compressed_files_are_read_like_others(text: Maker, name: str) -> None:
    contents = {
        "a.txt": "A b. C d.\n\nE f. G h.",
        "a.jsonl": '{"text": "A b. C d."}\n{"text": "E f. G h."}\n',
        "a.csv": "text,number\nA b. C d.,1\nE f. G h.,2\n",
    }
    data = text({f"{name}.gz": gzip.compress(contents[name].encode())})
    assert train(data) == [[["A b.", "C d."]], [["E f.", "G h."]]]


def test_a_damaged_compressed_file_is_named(text: Maker) -> None:
    whole = gzip.compress(prose(1).encode() * 99)
    message = failure(text({"a.txt.gz": whole[: len(whole) // 2]}))
    assert "a.txt.gz cannot be decompressed" in message
    assert "compress or download it again" in message


def test_cells_of_text_are_text_whatever_they_look_like(text: Maker) -> None:
    data = text({"a.csv": "text\n1984\nnull\nNA\n"}, sentences="line", min_sentences=1)
    assert train(data) == [[["1984"]], [["null"]], [["NA"]]]


def test_a_line_may_be_a_sentence(text: Maker) -> None:
    data = text({"a.txt": "A b. C  d.\nE\n\nF\n"}, sentences="line", min_sentences=1)
    assert train(data) == [[["A b. C d."], ["E"]], [["F"]]]


def test_an_unknown_splitter_names_the_known_ones(text: Maker) -> None:
    message = failure(text({"a.txt": prose(1)}, sentences="prosa"))
    assert "data.sentences=prosa is not one of wikitext, prose, line, pysbd" in message
    assert "did you mean 'prose'?" in message


def test_a_missing_half_of_wikitext_is_named(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        lines = " = A = \n a . b . \n = B = \n c . d . \n" if name != "valid" else "\n"
        (tmp_path / f"wiki.{name}.tokens").write_text(lines)
    message = failure(CorpusConfig(path=str(tmp_path), cache_dir=str(tmp_path / "cache")))
    assert "wiki.valid.tokens: the validation split has 0 documents" in message


def test_a_table_without_the_text_column_names_its_columns(text: Maker) -> None:  # BAD_INPUT 15
    data = text({"t.jsonl": json.dumps({"title": "a", "body": "b"}) + "\n"})
    message = failure(data)
    assert f"{data.path}/t.jsonl has no column 'text'; it has title, body" in message
    assert "data.text_column" in message


def test_a_column_of_numbers_is_refused_by_its_type(text: Maker) -> None:
    message = failure(text({"t.jsonl": '{"text": 1}\n{"text": 2}\n'}))
    assert "column 'text' holds int, not text" in message


@pytest.mark.parametrize("count", [6, 10, 41, 100])
def test_held_out_splits_share_no_document_and_are_spread_evenly(text: Maker, count: int) -> None:
    body = "\n\n".join(prose(n) for n in range(count))
    data = text({"a.txt": body}, validation_fraction=0.2, test_fraction=0.1)
    splits = read(data)
    numbers = {
        name: [int(d[0][0].split()[-1][:-1]) for d in documents]
        for name, documents in splits.items()
    }
    assert sorted(chain.from_iterable(numbers.values())) == list(range(count))
    assert len(numbers["validation"]) == max(2, round(0.2 * count))
    assert len(numbers["test"]) == max(2, round(0.1 * count))
    for held_out in (numbers["validation"], numbers["test"]):
        assert held_out == sorted(held_out)
        gaps = [b - a for a, b in pairwise(held_out)]
        assert max(gaps) <= min(gaps) + 3
        assert held_out[0] <= max(gaps)
        assert count - held_out[-1] <= max(gaps) + 1
    assert numbers == {
        name: [int(d[0][0].split()[-1][:-1]) for d in documents]
        for name, documents in read(data).items()
    }


def test_no_share_held_out_gives_no_split(text: Maker) -> None:
    assert set(read(text({"a.txt": prose(1)}))) == {"train"}


@pytest.mark.parametrize("held", [{"validation_fraction": 0.99999}, {"test_fraction": 0.9999}])
def test_nothing_left_to_train_on_is_refused(text: Maker, held: dict[str, float]) -> None:
    data = text({"a.txt": "\n\n".join(prose(n) for n in range(20))}, **held)
    message = failure(data)
    ((name, part),) = held.items()
    assert f"data.{name}={part:g}" in message
    assert f"hold out all 20 documents of data.path={data.path}" in message


def test_an_empty_file_is_named(text: Maker, tmp_path: Path) -> None:  # BAD_INPUT 11
    data = text({"a.txt": " \n\n", "c.csv": "text,n\n"})
    assert f"{data.path}/a.txt is empty (0 words)" in failure(data)
    left_out = LeftOut()
    text({"b.txt": prose(1)})
    assert len(list(read_source(find_source(data, 1), left_out))) == 1
    (omission,) = left_out
    assert (omission.what, omission.count) == ("files without a word", 2)
    assert omission.examples == [f"{tmp_path}/text/a.txt", f"{tmp_path}/text/c.csv"]


def test_fewer_than_two_documents_gives_the_path_and_the_count(text: Maker) -> None:  # 11
    data = text({"a.txt": prose(1)})
    message = failure(data)
    assert f"{data.path} (1 files): the train split has 1 documents" in message
    assert "2 or more" in message


def test_text_that_is_not_utf8_gives_the_file_and_the_byte(text: Maker) -> None:  # BAD_INPUT 12
    data = text({"latin.txt": "Grüße. Bis bald.".encode("latin1")})
    assert f"{data.path}/latin.txt is not UTF-8: byte 2 is 0xfc" in failure(data)
    marked = text({"latin.txt": b"\xef\xbb\xbf" + prose(1).encode()})
    assert train(marked)[0][0][0] == "This is document 1."


@pytest.mark.parametrize("source", [CorpusSource.text, CorpusSource.hub])
def test_a_missing_path_gives_the_absolute_path_and_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: CorpusSource
) -> None:  # BAD_INPUT 13
    monkeypatch.chdir(tmp_path)
    message = failure(CorpusConfig(source=source, path="absent"))
    assert str(tmp_path / "absent") in message
    assert f"the working directory is {tmp_path}" in message


def test_text_without_a_path_asks_for_one() -> None:
    assert "data.path='notes/*.txt'" in failure(CorpusConfig(source=CorpusSource.text))


@pytest.mark.parametrize(
    ("content", "text_format", "counts"),
    [
        ("One line.\nAnother line.\n\nA third.", Format.prose, ("2 documents", "3 paragraphs")),
        (
            " = A = \n one line . \n = B = \n another . \n",
            Format.wikitext,
            ("2 documents", "2 paragraphs"),
        ),
    ],
)
def test_no_paragraph_with_two_sentences_gives_the_counts(
    text: Maker, content: str, text_format: Format, counts: tuple[str, str]
) -> None:  # BAD_INPUT 38
    data = text({"a.txt": content}, format=text_format)
    message = failure(data)
    assert f"{data.path}" in message
    assert all(count in message for count in counts)
    assert "none of them with 2 sentences or more" in message
    assert "pairs=none" in message


def test_nothing_is_said_of_pairs_where_none_are_made(
    text: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPLITTERS, "nothing", lambda _: [])
    alone = {"min_sentences": 1}
    hub = {"source": CorpusSource.hub, "path": str(tmp_path)}
    for name in ("train", "valid", "test"):
        (tmp_path / f"wiki.{name}.tokens").write_text(" = A = \n" if name == "valid" else " a . \n")
    messages = [
        failure(text({"a.txt": "( )\n\n;"}, sentences="nothing", **alone), PairKind.none),
        failure(text({"a.txt": "A b."}, validation_fraction=0.1, **alone), PairKind.none),
        failure(CorpusConfig(cache_dir=str(tmp_path / "cache"), **(hub | alone)), PairKind.none),
    ]
    assert "2 paragraphs, none of them with a sentence" in messages[0]
    assert "has 1 documents that have a paragraph with a sentence, and 2 are needed" in messages[1]
    assert "wiki.valid.tokens: the validation split has 0 documents" in messages[2]
    for message in messages:
        assert not re.search("next-sentence|pairs=|two", message)


class TestLongDocuments:
    """Text without blank lines or without line ends is parted, so that any size can be read."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(text_files, "LONGEST_DOCUMENT", 40)
        monkeypatch.setattr(lines, "LONGEST_LINE", 60)

    def test_a_document_is_parted_between_its_paragraphs_and_a_warning_says_so(
        self, text: Maker, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = text({"a.txt": "A b c d. E f g h.\n" * 7 + "\nI j. K l.\n"})
        one, last = ["A b c d.", "E f g h."], ["I j.", "K l."]
        assert train(data) == [[one] * 3, [one] * 3, [one], [last]]
        (record,) = caplog.records
        assert "more than 40 characters is divided into several" in record.getMessage()

    def test_an_article_is_parted_too(self, text: Maker) -> None:
        text_lines = " = A = \n" + " a b c . d e f . \n" * 4 + " = B = \n g . h . \n"
        data = text({"a.txt": text_lines}, format=Format.wikitext)
        one = ["a b c", "d e f ."]
        assert train(data) == [[one] * 3, [one], [["g", "h ."]]]

    def test_a_line_is_parted_at_a_space(self, text: Maker) -> None:
        data = text({"a.txt": "Word one is. " * 30}, sentences="line", min_sentences=1)
        found = [line for document in train(data) for (line,) in document]
        assert " ".join(found) == ("Word one is. " * 30).strip()
        assert max(map(len, found)) < 60

    @pytest.mark.parametrize("ending", ["", "\n"])
    @pytest.mark.parametrize("word", ["é", "。", "𝔘", "aé。𝔘"])
    def test_without_a_space_no_character_is_cut(self, text: Maker, word: str, ending: str) -> None:
        data = text({"a.txt": word * 100 + ending}, sentences="line", min_sentences=1)
        found = [line for document in train(data) for (line,) in document]
        assert "".join(found) == word * 100
        assert max(map(len, found)) <= 60

    def test_what_is_no_text_is_refused_all_the_same(self, text: Maker) -> None:
        assert "is not UTF-8: byte 0 is 0x80" in failure(text({"a.txt": b"\x80" * 200}))


PEAK = r"""
import re, sys
from pathlib import Path
from bert_lightning.config import CorpusConfig, CorpusSource, Format, PairsConfig, TokenizerConfig
from bert_lightning.corpus.prepare import prepare
path, cache = sys.argv[1:]
data = CorpusConfig(CorpusSource.text, None, path, Format.prose, cache_dir=cache, test_fraction=0.0)
corpus = prepare(data, TokenizerConfig(vocab_size=50, min_frequency=1), PairsConfig())
# resource's ru_maxrss would begin with that of the process that started this one
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
print(sum(len(split.token_ids) for split in corpus.splits.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("line_end", ["\n", ""])
def test_memory_is_bounded_without_blank_lines_or_line_ends(tmp_path: Path, line_end: str) -> None:
    small = (
        "from bert_lightning.corpus import encoding\n"
        "from bert_lightning.corpus.readers import lines, text_files\n"
        + "".join(
            f"{name} = 100_000\n"
            for name in (
                "text_files.LONGEST_DOCUMENT",
                "lines.LONGEST_LINE",
                "encoding._CHUNK_CHARACTERS",
            )
        )
    )
    words = "".join(f"The {n} cranes lift steel. It is {n} o'clock. {line_end}" for n in range(40))
    peaks = []
    for size in (2, 16):
        repeats = size * 10**6 // len(words)
        file = tmp_path / "text.txt"
        file.write_text(words * repeats)
        command = [sys.executable, "-c", small + PEAK, str(file), str(tmp_path / f"{size}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        peak, tokens = map(int, done.stdout.split())
        assert tokens >= repeats * 40 * 10, "text is missing"
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 15, f"{peaks} MiB for 2 and 16 MB of text"


def test_a_hub_that_hangs_is_decided_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(5)

    assert hub.HUB_SECONDS < 10
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", hang)
    monkeypatch.setattr(hub, "HUB_SECONDS", 0.2)
    started = time.monotonic()
    assert hub.dataset_out_of_reach("owner/name", "main") == "no answer within 0.2 s"
    assert time.monotonic() - started < 2


def test_a_hub_that_refuses_is_quoted_and_one_that_answers_is_in_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    assert hub.dataset_out_of_reach("owner/name", "main") == "ConnectionError: no route"
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(id="x")
    )
    assert hub.dataset_out_of_reach("owner/name", "main") is None


class TestHubTable:
    """A data set of the hub whose rows are documents, with a train split alone."""

    @pytest.fixture
    def data(self) -> CorpusConfig:
        return CorpusConfig(
            source=CorpusSource.hub,
            name="wikipedia",
            format=Format.prose,
            hub_repository="wikimedia/wikipedia",
            hub_name="20231101.en",
            text_column="body",
            streaming=True,
            validation_fraction=0.2,
            test_fraction=0.0,
            fallback=None,
        )

    @pytest.fixture(autouse=True)
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        rows = [f"{prose(n)}\nA second paragraph. It is short." for n in range(50)]
        streamed: list[bool] = []

        def load(*_: object, streaming: bool, **__: object) -> dict[str, object]:
            streamed.append(streaming)
            table = datasets.Dataset.from_dict({"id": list(range(50)), "body": rows})
            return {"train": table.to_iterable_dataset() if streaming else table}

        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: None)
        monkeypatch.setattr(datasets, "load_dataset", load)
        return streamed

    @pytest.mark.parametrize("streaming", [False, True])
    def test_rows_are_documents_and_some_are_held_out(
        self, data: CorpusConfig, asked: list[bool], streaming: bool, tmp_path: Path
    ) -> None:
        data = replace(data, streaming=streaming, cache_dir=str(tmp_path / "cache"))
        prepared = prepare(data, TokenizerConfig(min_frequency=1), PairsConfig())
        assert asked == [streaming]
        assert prepared.name == "wikipedia"
        assert {name: s.documents for name, s in prepared.splits.items()} == {
            "train": 40,
            "validation": 10,
        }
        assert prepared.splits["train"].paragraphs == 80

    def test_a_column_that_is_not_there_is_named(self, data: CorpusConfig) -> None:
        message = failure(replace(data, text_column="text"))
        assert "wikimedia/wikipedia (20231101.en) has no column 'text'; it has id, body" in message

    def test_a_connection_that_breaks_is_no_traceback(
        self, data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ConnectionError("reset by peer")

        monkeypatch.setattr(datasets.IterableDataset, "iter", broken)
        message = failure(data)
        assert "was read: reset by peer" in message
        assert "data=builtin" in message
        assert "wiki.train.tokens" not in message


class TestRepository:
    """A repository as the hub keeps them, in a folder: `datasets` itself reads it."""

    @pytest.fixture
    def repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "repository"
        articles = [
            f"{line}\n"
            for n in range(300)
            for line in (f" = Article {n} = ", f" word{n} a . b c . ", " d . e f . ")
        ]
        for split in ("train", "validation", "test"):
            (folder / "wiki").mkdir(parents=True, exist_ok=True)
            table = datasets.Dataset.from_dict({"text": articles})
            table.to_parquet(folder / "wiki" / f"{split}-00000-of-00001.parquet")
        (folder / "pages").mkdir()
        for part in range(2):
            rows = [f"{prose(n)}\nA second paragraph. It is short." for n in range(part, 600, 2)]
            table = datasets.Dataset.from_dict({"title": [""] * 300, "body": rows})
            table.to_parquet(folder / "pages" / f"train-0000{part}-of-00002.parquet")
        (folder / "README.md").write_text(
            "---\nconfigs:\n"
            "- config_name: wiki\n  data_files:\n"
            + "".join(
                f"  - split: {split}\n    path: wiki/{split}-*\n"
                for split in ("train", "validation", "test")
            )
            + "- config_name: pages\n  data_files:\n  - split: train\n    path: pages/train-*\n"
            + "---\n"
        )
        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: None)
        return folder

    @pytest.mark.parametrize("streaming", [False, True])
    def test_wikitext_is_what_its_files_are(
        self, repository: Path, tmp_path: Path, streaming: bool
    ) -> None:
        lines = datasets.Dataset.from_parquet(str(repository / "wiki" / "test-*.parquet"))["text"]
        for name in ("train", "valid", "test"):
            (tmp_path / f"wiki.{name}.tokens").write_text("".join(lines))
        hub = CorpusConfig(hub_repository=str(repository), hub_name="wiki", streaming=streaming)
        splits = read(hub)
        assert splits == read(CorpusConfig(path=str(tmp_path)))
        assert {name: len(documents) for name, documents in splits.items()} == dict.fromkeys(
            ("train", "validation", "test"), 300
        )

    @pytest.mark.parametrize("streaming", [False, True])
    def test_pages_are_prepared_and_opened_again(
        self, repository: Path, tmp_path: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = CorpusConfig(
            format=Format.prose,
            hub_repository=str(repository),
            hub_name="pages",
            test_fraction=0.0,
            text_column="body",
            streaming=streaming,
            fallback=None,
            cache_dir=str(tmp_path / "cache"),
        )
        prepared = prepare(data, TokenizerConfig(min_frequency=1), PairsConfig())
        assert {name: s.documents for name, s in prepared.splits.items()} == {
            "train": 540,
            "validation": 60,
        }
        assert prepared.splits["train"].pairs == 1080
        numbers = [prepared.tokenizer.token_to_id(str(n)) for n in range(600)]
        ids = [set(split.token_ids.tolist()) for split in prepared.splits.values()]
        assert sum(number in ids[0] for number in numbers) == 540
        monkeypatch.setattr(datasets, "load_dataset", None)
        assert prepare(data, TokenizerConfig(min_frequency=1), PairsConfig()).key == prepared.key

    @pytest.mark.parametrize("streaming", [False, True])
    def test_what_is_not_there_is_named(self, repository: Path, streaming: bool) -> None:
        data = CorpusConfig(
            format=Format.prose,
            hub_repository=str(repository),
            hub_name="pages",
            test_fraction=0.0,
            streaming=streaming,
            fallback=None,
        )
        assert "has no column 'text'; it has title, body" in failure(data)
        message = failure(replace(data, hub_name="absent"))
        assert "absent" in message
        assert "data=builtin" in message
