"""The prepared corpus: built once, completely or not at all, and named by its identity."""

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
from filelock import FileLock

from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Fallback,
    Format,
    PairsConfig,
    TokenizerConfig,
)
from bert_lightning.corpus import catalog, encoding, fingerprints, manifest, store
from bert_lightning.corpus import prepare as preparing
from bert_lightning.corpus.catalog import cache_folder
from bert_lightning.corpus.fingerprints import hash_file
from bert_lightning.corpus.manifest import digest, read_manifest
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers import tables, text_files
from bert_lightning.corpus.store import PreparedCorpus, SplitWriter
from bert_lightning.errors import UserError

WORDS = TokenizerConfig(min_frequency=1)
PAIRS = PairsConfig()
ARTICLES = [
    line
    for n in range(4)
    for line in (" \n", f" = Article {n} = \n", f" word{n} a . b c . \n", " d . e . f . \n")
]

SETUP = """
import os, sys, time
from bert_lightning.config import CorpusConfig, CorpusSource, Format, PairsConfig, TokenizerConfig
from bert_lightning.corpus import encoding, prepare as preparing, store

def signal_and_sleep(*_):
    print("reached", flush=True)
    time.sleep(60)

path, cache = sys.argv[1:]
data = CorpusConfig(CorpusSource.text, None, path, Format.prose, cache_dir=cache, test_fraction=0.0)
"""
PREPARE = """
pairs = PairsConfig()
print(preparing.prepare(data, TokenizerConfig(min_frequency=1), pairs).key, flush=True)
"""


@pytest.fixture
def data(tmp_path: Path) -> CorpusConfig:
    file = tmp_path / "text.txt"
    file.write_text("\n\n".join(f"Document {n} is here. It is short. It ends." for n in range(30)))
    return CorpusConfig(
        source=CorpusSource.text,
        path=str(file),
        format=Format.prose,
        cache_dir=str(tmp_path / "cache"),
        test_fraction=0.0,
    )


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the corpora that are really built."""
    built = []
    build = preparing._build

    def counted(folder: Path, *rest: object) -> None:
        built.append(folder.name)
        build(folder, *rest)

    monkeypatch.setattr(preparing, "_build", counted)
    return built


def folder_of(data: CorpusConfig, prepared: PreparedCorpus) -> Path:
    return cache_folder(data) / f"{prepared.name}-{prepared.key[:16]}"


def same(a: PreparedCorpus, b: PreparedCorpus) -> bool:
    return (
        (a.name, a.key, a.tokenizer.to_str()) == (b.name, b.key, b.tokenizer.to_str())
        and set(a.splits) == set(b.splits)
        and all(
            np.array_equal(getattr(a.splits[name], array), getattr(b.splits[name], array))
            for name in a.splits
            for array in store._ARRAYS
        )
    )


def start(script: str, data: CorpusConfig) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SETUP + script, str(data.path), str(data.cache_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_the_texts_key_is_that_of_the_text_whatever_the_tokenizer(
    data: CorpusConfig, tmp_path: Path
) -> None:
    first = prepare(data, WORDS, PAIRS)
    other_words = prepare(data, TokenizerConfig(min_frequency=20), PAIRS)
    assert other_words.key != first.key
    assert other_words.text_key == first.text_key
    assert prepare(replace(data, validation_fraction=0.2), WORDS, PAIRS).text_key != first.text_key
    moved = tmp_path / "moved.txt"
    Path(str(data.path)).rename(moved)
    again = prepare(replace(data, path=str(moved)), WORDS, PAIRS)
    assert (again.key, again.text_key) == (first.key, first.text_key)
    assert str(moved) in again.origin


def test_a_store_holds_the_text(data: CorpusConfig) -> None:
    prepared = prepare(data, WORDS, PAIRS)
    train, validation = prepared.splits["train"], prepared.splits["validation"]
    assert (train.documents, train.paragraphs, train.sentences, train.pairs) == (27, 27, 81, 54)
    assert (validation.documents, validation.pairs) == (3, 6)
    words = [prepared.tokenizer.id_to_token(int(i)) for i in train.token_ids[:12]]
    assert words == [
        "document",
        "0",
        "is",
        "here",
        ".",
        "it",
        "is",
        "short",
        ".",
        "it",
        "ends",
        ".",
    ]
    assert train.token_ids.dtype == np.uint16
    lengths = train.sentence_length(np.arange(3))
    assert lengths.tolist() == [5, 4, 3]
    assert prepared.fallback_reason is None


def test_a_reopened_store_equals_the_built_one_and_reads_no_text(
    data: CorpusConfig, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = prepare(data, WORDS, PAIRS)
    monkeypatch.setattr(text_files, "read_lines", None)
    assert same(prepare(data, WORDS, PAIRS), built)
    assert len(builds) == 1


def test_changed_text_options_or_words_make_a_new_key(data: CorpusConfig) -> None:
    first = prepare(data, WORDS, PAIRS)
    assert data.path is not None
    variants = {
        "frequency": prepare(data, TokenizerConfig(min_frequency=2), PAIRS),
        "case": prepare(data, TokenizerConfig(min_frequency=1, lowercase=False), PAIRS),
        "split": prepare(replace(data, validation_fraction=0.3), WORDS, PAIRS),
        "wrapping": prepare(replace(data, hard_wrapped=True), WORDS, PAIRS),
    }
    file = Path(data.path)
    file.write_text(file.read_text().replace("short", "brief"))
    variants["text"] = prepare(data, WORDS, PAIRS)
    keys = {first.key, *(variant.key for variant in variants.values())}
    assert len(keys) == 1 + len(variants)
    assert variants["text"].tokenizer.token_to_id("brief") is not None
    assert prepare(data, WORDS, PairsConfig(short_seq_prob=0.5)).key in keys


def test_a_splitter_of_ones_own_in_a_line_of_config(
    data: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """from bert_lightning.extensions import extension
@extension("splitter")
def at_words(paragraph):
    return paragraph.split(" is ")
"""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_splitters.py").write_text(code)
    own = replace(data, sentences="my_splitters:at_words")
    first = prepare(own, WORDS, PAIRS)
    assert first.splits["train"].sentences == 27 * 3
    assert first.splits["train"].sentence_length(np.arange(3)).tolist() == [2, 3, 5]
    assert prepare(own, WORDS, PAIRS).key == first.key
    (tmp_path / "my_splitters.py").write_text(code + "# another rule")
    assert prepare(own, WORDS, PAIRS).key != first.key


def test_a_large_text_is_not_read_again_to_open_its_store(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fingerprints, store):
        monkeypatch.setattr(module, "ALWAYS_HASHED", 0)
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", -(10**12))
    first = prepare(data, WORDS, PAIRS)
    hashed: list[Path] = []
    monkeypatch.setattr(
        fingerprints, "hash_file", lambda file: hashed.append(file) or hash_file(file)
    )
    monkeypatch.setattr(text_files, "read_lines", None)
    assert same(prepare(data, WORDS, PAIRS), first)
    assert hashed == []
    monkeypatch.undo()
    assert data.path is not None
    Path(data.path).write_text(Path(data.path).read_text().replace("short", "brief"))
    assert prepare(data, WORDS, PAIRS).key != first.key


def test_another_format_version_makes_a_new_key(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = prepare(data, WORDS, PAIRS)
    for module in (manifest, store, catalog):
        monkeypatch.setattr(module, "CORPUS_FORMAT", 99)
    assert "instead of 99" in str(store.find_damage(folder_of(data, first)))
    with caplog.at_level(logging.WARNING):
        second = prepare(data, WORDS, PAIRS)
    assert first.key != second.key
    assert folder_of(data, second).is_dir()
    assert f"({folder_of(data, first).name}, 0 MB): bert-lightning corpora" in caplog.text


def test_the_manifest_says_what_the_store_is_made_of(data: CorpusConfig) -> None:
    prepared = prepare(data, TokenizerConfig(min_frequency=2), PAIRS)
    found = read_manifest(folder_of(data, prepared))
    assert found is not None
    assert data.path is not None
    assert digest({"files": [f"text {hash_file(Path(data.path))}"]}) in found["source"]["content"]
    assert found["source"]["options"]["data.sentences"] == "prose"
    assert not {"data.path", "data.cache_dir", "data.name"} & set(found["source"]["options"])
    assert found["tokenizer"]["tokenizer.min_frequency"] == 2
    assert "tokenizer.path" not in found["tokenizer"]
    assert found["format"] == manifest.CORPUS_FORMAT
    assert found["splits"]["train"]["pairs"] == prepared.splits["train"].pairs
    assert found["splits"]["train"]["tokens"] == len(prepared.splits["train"].token_ids)
    assert {len(record["sha256"]) for record in found["files"].values()} == {64}
    assert "tokenizer.json" in found["files"]
    assert prepared.key == digest({n: found[n] for n in prepared.identity if n != "splits"})


def test_tokens_are_counted_while_a_corpus_is_written(data: CorpusConfig) -> None:
    for split in prepare(data, WORDS, PAIRS).splits.values():
        counts = np.bincount(split.token_ids, minlength=len(split.token_counts))
        assert split.token_counts.tolist() == counts.tolist()
        padded = split.counts_of_rows(len(counts) + 3)
        assert padded.tolist() == [*counts.tolist(), 0, 0, 0]


def test_a_large_store_is_hashed_only_where_its_times_changed(
    data: CorpusConfig, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ALWAYS_HASHED", 0)
    folder = folder_of(data, prepare(data, WORDS, PAIRS))
    with monkeypatch.context() as patched:
        patched.setattr(store, "hash_file", None)
        assert store.find_damage(folder) is None
    file = folder / "train" / "token_ids.bin"
    os.utime(file, ns=(0, 0))  # as a copy would have it
    prepare(data, WORDS, PAIRS)
    assert len(builds) == 1
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    prepare(data, WORDS, PAIRS)
    assert len(builds) == 2


def test_a_rebuilt_store_keeps_its_tokenizer(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(data, WORDS, PAIRS)
    (folder_of(data, first) / "train" / "token_ids.bin").unlink()
    monkeypatch.setattr(preparing, "build_tokenizer", None)
    assert same(prepare(data, WORDS, PAIRS), first)


def test_what_killed_builds_left_is_cleaned_and_what_goes_on_is_not(data: CorpusConfig) -> None:
    cache = cache_folder(data)
    dead, alive = cache / "text-dead.tmp", cache / "text-alive.tmp"
    for folder in (dead, alive):
        (folder / "train").mkdir(parents=True)
    with FileLock(cache / "text-alive.lock"):
        prepare(data, WORDS, PAIRS)
    assert not dead.exists()
    assert alive.exists()


@pytest.mark.parametrize("size", [1, 60, 10**9])
def test_chunks_make_no_difference(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    expected = prepare(data, WORDS, PAIRS)
    monkeypatch.setattr(encoding, "_CHUNK_CHARACTERS", size)
    found = prepare(replace(data, cache_dir=f"{data.cache_dir}-again"), WORDS, PAIRS)
    assert same(found, expected)


def test_another_tokenizer_file_makes_a_new_key(data: CorpusConfig, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    given = TokenizerConfig(path=str(file))
    prepare(data, WORDS, PAIRS).tokenizer.save(str(file))
    first = prepare(data, given, PAIRS)
    prepare(data, TokenizerConfig(min_frequency=3), PAIRS).tokenizer.save(str(file))
    second = prepare(data, given, PAIRS)
    assert first.key != second.key
    assert second.tokenizer.get_vocab_size() < first.tokenizer.get_vocab_size()


@pytest.mark.parametrize(
    "name",
    ["train/token_ids.bin", "validation/paragraph_starts.bin", "tokenizer.json", "manifest.json"],
)
@pytest.mark.parametrize("damage", ["cut", "removed", "flipped"])
def test_a_damaged_store_is_rebuilt(
    data: CorpusConfig,
    builds: list[str],
    name: str,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = prepare(data, WORDS, PAIRS)
    before = first.splits["train"].token_ids.tolist()
    file = folder_of(data, first) / name
    if damage == "cut":
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content[: len(content) // 2])
    elif damage == "removed":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        second = prepare(data, WORDS, PAIRS)
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    (record,) = (r for r in warnings if r.name.startswith("bert_lightning"))
    assert "corrupted" in record.getMessage()
    assert name in record.getMessage()
    assert len(builds) == 2
    assert second.splits["train"].token_ids.tolist() == before
    prepare(data, WORDS, PAIRS)
    assert len(builds) == 2


def test_a_failed_build_leaves_nothing_that_looks_finished(
    data: CorpusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left")

    with monkeypatch.context() as patched:
        patched.setattr(SplitWriter, "append", no_space)
        with pytest.raises(UserError, match=r"No space left; data\.cache_dir=FOLDER"):
            prepare(data, WORDS, PAIRS)
    assert not list(cache_folder(data).glob("text-????????????????/manifest.json"))
    assert prepare(data, WORDS, PAIRS).splits["train"].documents == 27


def test_a_cache_that_cannot_be_made_is_named(data: CorpusConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=rf"cannot be written to {tmp_path}/file/cache"):
        prepare(replace(data, cache_dir=str(tmp_path / "file" / "cache")), WORDS, PAIRS)


@pytest.mark.slow
def test_two_processes_that_build_at_once_make_one_store(data: CorpusConfig) -> None:
    script = """
build = preparing._build
def slow(*arguments):
    time.sleep(0.5)
    build(*arguments)
    print("built", flush=True)
preparing._build = slow
print("ready", flush=True)
sys.stdin.readline()
"""
    processes = [start(script + PREPARE, data) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(map(len, outputs)) == [1, 2], "built other than once"
    key = prepare(data, WORDS, PAIRS).key
    assert {output[-1] for output in outputs} == {key}
    folders = [entry for entry in cache_folder(data).iterdir() if entry.is_dir()]
    assert [folder.name for folder in folders] == [f"text-{key[:16]}"]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(
            "encoding.TextEncoder.encode = signal_and_sleep",
            id="encoding",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "store.SplitWriter.finish = signal_and_sleep", id="writing", marks=pytest.mark.slow
        ),
        pytest.param("preparing.Path.rename = signal_and_sleep", id="before the rename"),
    ],
)
def test_a_process_killed_in_mid_build_leaves_nothing_that_looks_finished(
    data: CorpusConfig, step: str, builds: list[str]
) -> None:
    process = start(f"{step}\n{PREPARE}", data)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    prepared = prepare(data, WORDS, PAIRS)
    assert builds == [folder_of(data, prepared).name], "the half-built store was taken for whole"
    fresh = prepare(replace(data, cache_dir=f"{data.cache_dir}-fresh"), WORDS, PAIRS)
    assert same(prepared, fresh)


def test_a_split_without_two_documents_is_refused_before_anything_is_written(
    data: CorpusConfig,
) -> None:
    assert data.path is not None
    Path(data.path).write_text("Only one. Document here.")
    with pytest.raises(UserError, match=r"has 1 documents .* and 4 are needed"):
        prepare(data, WORDS, PAIRS)
    assert not list(cache_folder(data).rglob("manifest.json"))


class TestHub:
    """What happens with `wikitext2` where no path is given; the hub itself is never asked."""

    @pytest.fixture
    def hub(self, tmp_path: Path) -> CorpusConfig:
        return CorpusConfig(name="wikitext2", cache_dir=str(tmp_path / "cache"))

    @pytest.fixture(autouse=True)
    def _flags_are_put_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for constants in (datasets.config, huggingface_hub.constants):
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
        """The hub in reach: it gives four articles a split, and what it was asked is noted."""
        calls: list[tuple[object, ...]] = []

        def load(*arguments: object, **options: object) -> datasets.DatasetDict:
            calls.append((*arguments, options["revision"]))
            return datasets.DatasetDict(
                {
                    split: datasets.Dataset.from_dict({"text": ARTICLES})
                    for split in ("train", "validation", "test")
                }
            )

        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: None)
        monkeypatch.setattr(datasets, "load_dataset", load)
        return calls

    @pytest.fixture
    def out_of_reach(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(*_: object, **__: object) -> None:
            assert datasets.config.HF_HUB_OFFLINE, "datasets would retry for minutes"
            raise ConnectionError("not cached")

        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: "ConnectError: no route")
        monkeypatch.setattr(datasets, "load_dataset", load)

    def test_the_hubs_rows_become_the_same_documents_as_the_files(
        self, hub: CorpusConfig, asked: list[tuple[object, ...]], tmp_path: Path
    ) -> None:
        prepared = prepare(hub, WORDS, PAIRS)
        assert prepared.name == "wikitext2"
        assert prepared.fallback_reason is None
        assert asked == [(hub.hub_repository, hub.hub_name, hub.hub_revision)]
        for name in ("train", "valid", "test"):
            (tmp_path / f"wiki.{name}.tokens").write_text("".join(ARTICLES))
        local = prepare(replace(hub, path=str(tmp_path)), WORDS, PAIRS)
        assert same(replace(prepared, key=local.key), local)
        train = prepared.splits["train"]
        assert (train.documents, train.paragraphs, train.pairs) == (4, 8, 12)

    def test_a_prepared_corpus_needs_no_hub_again(
        self, hub: CorpusConfig, asked: list[tuple[object, ...]]
    ) -> None:
        first = prepare(hub, WORDS, PAIRS)
        assert same(prepare(hub, WORDS, PAIRS), first)
        assert len(asked) == 1

    def test_out_of_reach_falls_back_to_the_builtin_corpus_with_a_loud_warning(
        self, hub: CorpusConfig, out_of_reach: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            prepared = prepare(hub, TokenizerConfig(), PAIRS)
        assert prepared.name == "builtin"
        assert "ConnectError: no route" in str(prepared.fallback_reason)
        record, left_out = (r for r in caplog.records if r.name.startswith("bert_lightning"))
        assert record.levelno >= logging.WARNING
        assert left_out.getMessage().startswith("Left out: ")  # paragraphs of one sentence
        for part in ("not the corpus you asked for", "BUILT-IN", "no route", "data.path=FOLDER"):
            assert part in record.getMessage()
        assert [f for f in cache_folder(hub).glob("builtin-*") if f.is_dir()]
        assert not [f for f in cache_folder(hub).glob("wikitext2-*") if f.is_dir()]

    def test_without_a_fallback_it_is_an_error_with_the_ways_out(
        self, hub: CorpusConfig, out_of_reach: None
    ) -> None:  # BAD_INPUT 14
        with pytest.raises(UserError) as error:
            prepare(replace(hub, fallback=None), WORDS, PAIRS)
        for part in ("data.path", "data=builtin", hub.hub_repository, "keeps it for runs without"):
            assert part in str(error.value)

    def test_the_hub_is_used_again_once_it_is_back(
        self,
        hub: CorpusConfig,
        monkeypatch: pytest.MonkeyPatch,
        asked: list[tuple[object, ...]],
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(tables, "dataset_out_of_reach", lambda *_: "down")
            patched.setattr(datasets, "load_dataset", lambda *_, **__: 1 / 0)
            assert prepare(hub, WORDS, PAIRS).name == "builtin"
        assert prepare(hub, WORDS, PAIRS).name == "wikitext2"
        assert hub.fallback is Fallback.builtin


@pytest.mark.slow
def test_wikitext2_from_the_files_is_kept_under_its_own_name(
    wikitext2_corpus: PreparedCorpus, cache_dir: str
) -> None:
    assert wikitext2_corpus.name == "wikitext2"
    assert (Path(cache_dir) / f"wikitext2-{wikitext2_corpus.key[:16]}" / "manifest.json").is_file()
    sizes = {name: split.pairs for name, split in wikitext2_corpus.splits.items()}
    assert sizes == {"train": 59_135, "validation": 6_216, "test": 7_181}
