"""A text prepared by any workers, in any items, killed at any moment, is the same store."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.trainers import WordLevelTrainer

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    DocumentUnit,
    Format,
    PairsConfig,
    PrepareConfig,
    PrepareExecutor,
    TokenizerConfig,
)
from bert_lightning.corpus.catalog import store_folder
from bert_lightning.corpus.manifest import read_manifest
from bert_lightning.corpus.preparation import items
from bert_lightning.corpus.preparation.files import FilePiece, file_pieces, next_cut
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.readers.text_files import raw_documents
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.errors import RunEnded, UserError

WORDS, PAIRS = TokenizerConfig(min_frequency=1), PairsConfig()
SMALL_ITEM = 700
KINDS = ("prose", "tables", "wikitext")


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(["The", "crane", "sees", "a", "river", "at", "night", "é"], k=6))


def prose(rng: random.Random, documents: int) -> str:
    blocks = (
        "\n".join(f"{sentence(rng)}. {sentence(rng)}." for _ in range(rng.randint(1, 3)))
        for _ in range(documents)
    )
    return "\n\n".join([*blocks, "Alone."])


def corpus(folder: Path, kind: str) -> CorpusConfig:
    """Writes a text of several items, and returns the options to prepare it with."""
    rng = random.Random(0)
    text = folder / "text"
    text.mkdir()
    cache = str(folder / "cache")
    if kind == "wikitext":
        for split in ("train", "valid", "test"):
            lines = "".join(
                f" = Title {n} = \n {sentence(rng)} . {sentence(rng)} . \n" for n in range(20)
            )
            (text / f"wiki.{split}.tokens").write_text(lines)
        return CorpusConfig(path=str(text), cache_dir=cache)
    if kind == "prose":
        for number in range(4):
            (text / f"{number}.txt").write_text(prose(rng, 4))
        (text / "long.txt").write_text(prose(rng, 30))
    else:
        rows = [prose(rng, 1) for _ in range(30)] + [""]
        (text / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
        table = pyarrow.table({"text": [prose(rng, 1) for _ in range(30)]})
        parquet.write_table(table, text / "b.parquet", row_group_size=5)
    unit = DocumentUnit.blank_line if kind == "prose" else None
    return CorpusConfig(
        CorpusSource.text, path=str(text), format=Format.prose, document=unit, cache_dir=cache
    )


@pytest.fixture(autouse=True)
def _small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "ITEM_BYTES", SMALL_ITEM)


def content(data: CorpusConfig) -> dict[str, object]:
    """Prepares a text; returns the hashes of all files, the counts and what was left out."""
    prepared = prepare(data, WORDS, PAIRS)
    folder = store_folder(data, prepared.name, prepared.key)
    assert [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] == [folder.name]
    manifest = read_manifest(folder)
    assert manifest is not None
    hashes = {name: record["sha256"] for name, record in manifest["files"].items()}
    return {"files": hashes, "splits": manifest["splits"], "left_out": manifest["left_out"]}


def by(data: CorpusConfig, executor: PrepareExecutor, workers: int = 2) -> CorpusConfig:
    return replace(
        data, cache_dir=f"{data.cache_dir}-{executor}", prepare=PrepareConfig(executor, workers)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_items_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = corpus(tmp_path, kind)
    small = content(data)
    monkeypatch.setattr(items, "ITEM_BYTES", 10**9)
    assert content(replace(data, cache_dir=str(tmp_path / "whole"))) == small


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_make_the_same_store(tmp_path: Path, kind: str) -> None:
    data = corpus(tmp_path, kind)
    assert content(by(data, PrepareExecutor.processes)) == content(data)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["dask", "ray", "submitit"])
def test_a_cluster_makes_the_same_store(tmp_path: Path, executor: str) -> None:
    if find_spec(executor) is None:
        pytest.skip(f"no package {executor}")
    for kind in KINDS[:1] if executor == "submitit" else KINDS:  # its jobs begin slowly
        (tmp_path / kind).mkdir()
        data = corpus(tmp_path / kind, kind)
        assert content(by(data, PrepareExecutor[executor])) == content(data)


LINES = st.lists(
    st.sampled_from(["", " ", "\u3000", "a b", "é", " = A = ", " = = b = = ", "= =", "x."]),
    max_size=12,
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@settings(max_examples=60, deadline=None)
@given(LINES, ENDS, st.sampled_from(Format), st.sampled_from(["text", "wikiextractor"]))
def test_a_file_cut_at_any_byte_gives_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    end: str,
    text_format: Format,
    holds: str,
) -> None:
    file = TextFile(tmp_path_factory.mktemp("cut") / "a.txt", holds)
    file.path.write_bytes(end.join([*lines, "last"]).encode())
    data = CorpusConfig(CorpusSource.text, format=text_format)
    whole = list(raw_documents(file, data, LeftOut()))
    size = file.path.stat().st_size
    for offset in range(1, size):
        cut = next_cut(BytesIO(file.path.read_bytes()), offset, file, data)
        if cut is not None:
            parts = [file._replace(part=part) for part in ((0, cut), (cut, size))]
            pieces = [FilePiece(part, "", 0) for part in parts]
            found = [d for piece in pieces for d in piece.raw_documents(data, LeftOut())]
            assert found == whole, offset


def test_a_large_file_is_cut_and_a_compressed_one_is_not(tmp_path: Path) -> None:
    data = corpus(tmp_path, "prose")
    file = Path(str(data.path)) / "long.txt"
    assert len(file_pieces(TextFile(file, "text"), "", data)) > 3
    by_file = replace(data, document=DocumentUnit.file)
    assert len(file_pieces(TextFile(file, "text"), "", by_file)) == 1
    assert len(file_pieces(TextFile(file.rename(f"{file}.gz"), "text"), "", data)) == 1


def test_a_part_that_cannot_be_read_is_told_of_the_whole_file(tmp_path: Path) -> None:
    data = corpus(tmp_path, "tables")
    file = Path(str(data.path)) / "a.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:20], "{no JSON", *lines[20:]]))
    with pytest.raises(UserError, match=r"a\.jsonl: line 21 is not JSON"):
        prepare(data, WORDS, PAIRS)
    assert not list(Path(str(data.cache_dir)).glob("*.parts")), "shards of no use are left"


KILLED = """
import sys
from bert_lightning.config import *
from bert_lightning.corpus.preparation import items
from bert_lightning.corpus.prepare import prepare
path, cache, workers = sys.argv[1:]
items.ITEM_BYTES = 700
data = CorpusConfig(
    CorpusSource.text, path=path, format=Format.prose, document=DocumentUnit.blank_line,
    cache_dir=cache, prepare=PrepareConfig(workers=int(workers)),
)
print("ready", flush=True)
prepare(data, TokenizerConfig(min_frequency=1), PairsConfig())
"""


@pytest.mark.slow
def test_ten_kills_lose_no_finished_shard(tmp_path: Path) -> None:
    data = corpus(tmp_path, "prose")
    expected = content(replace(data, cache_dir=str(tmp_path / "undisturbed")))
    rng = random.Random(1)
    cache = Path(str(data.cache_dir))
    encoded: dict[Path, int] = {}
    for kill in range(10):
        command = [sys.executable, "-c", KILLED, str(data.path), str(cache), str(1 + kill % 2)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15 if kill % 2 == 0 else 3))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        time.sleep(0.2)
        shards = [
            path for path in cache.glob("*.parts/ids-*") if (path / "manifest.json").is_file()
        ]
        now = {path: (path / "manifest.json").stat().st_ino for path in shards}
        complete = list(cache.glob("text-????????????????/manifest.json"))
        assert complete or encoded.items() <= now.items(), "a finished shard was made again"
        encoded = now
    assert content(data) == expected


def test_a_corrupted_shard_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = corpus(tmp_path, "prose")
    expected = content(replace(data, cache_dir=str(tmp_path / "undisturbed")))
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("bert_lightning.corpus.prepare.merge", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(data, WORDS, PAIRS)
    shards = sorted(Path(str(data.cache_dir)).glob("*.parts/ids-*/token_ids.bin"))
    assert len(shards) > 4
    before = {shard: shard.stat().st_ino for shard in shards}
    flipped = bytearray(shards[0].read_bytes())
    flipped[3] ^= 1
    shards[0].write_bytes(flipped)
    shards[1].unlink()
    kept: dict[Path, int] = {}

    def look(*arguments: object) -> object:
        kept.update({shard: shard.stat().st_ino for shard in shards})
        return merge(*arguments)  # type: ignore[arg-type]

    from bert_lightning.corpus.preparation.merge import merge

    monkeypatch.setattr("bert_lightning.corpus.prepare.merge", look)
    assert content(data) == expected
    assert {shard for shard in shards[1:] if kept[shard] != before[shard]} <= {shards[1]}


def test_workers_start_without_torch() -> None:
    code = "import sys, bert_lightning.corpus.preparation.tasks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_a_worker_that_dies_is_one_message(tmp_path: Path) -> None:
    data = corpus(tmp_path, "prose")
    (tmp_path / "dying.py").write_text(
        "import os\nfrom bert_lightning.extensions import extension\n"
        '@extension("splitter")\ndef split(text):\n'
        "    import multiprocessing\n"
        "    if multiprocessing.parent_process(): os._exit(9)\n    return [text]\n"
    )
    sys.path.append(str(tmp_path))
    try:
        dying = replace(by(data, PrepareExecutor.processes), sentences="dying:split")
        with pytest.raises(RunEnded, match="a worker of the preparation died"):
            prepare(dying, WORDS, PAIRS)
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize("most", [None, 7, 9])
def test_words_are_counted_as_the_trainer_of_words_does(most: int | None) -> None:
    texts = ["b a . b c", "c d, e e!", "É é x\u00a0y [SEP]", ""]
    config = TokenizerConfig(min_frequency=1, vocab_size=most)
    trained = Tokenizer(models.WordLevel(unk_token=UNK))
    trained.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFC()])
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    trainer = WordLevelTrainer(
        vocab_size=most or 1000, min_frequency=1, special_tokens=[*SPECIAL_TOKENS]
    )
    trained.train_from_iterator(texts, trainer)
    made = build_tokenizer(texts, config, Format.prose)
    assert made.get_vocab() == trained.get_vocab()
    assert Counter(made.get_vocab().values()).most_common(1)[0][1] == 1
