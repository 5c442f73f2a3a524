"""Whatever the text: a store whose decoded text is the text, or an error that says why."""

import random
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from plain import PlainFolder, read_folder_plain
from random_folders import fill, random_text
from reading import config_of

from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Format,
    PairKind,
    PairsConfig,
    TokenizerConfig,
)
from bert_lightning.corpus import encoding
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers.left_out import LEFT_OUT, shown
from bert_lightning.corpus.store import Split
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="any bytes may be a name there")
CASED = TokenizerConfig(min_frequency=1, lowercase=False)


def decoded(split: Split, tokenizer: Tokenizer) -> list[str]:
    """Returns the documents, without what Python takes for white space: it may stand in a word."""
    starts = split.sentence_starts[split.paragraph_starts[split.document_starts]]
    return [
        "".join("".join(str(tokenizer.id_to_token(int(i))) for i in split.token_ids[a:b]).split())
        for a, b in pairwise(starts)
    ]


def check_shape(split: Split) -> None:
    tokens = len(split.token_ids)
    assert split.word_starts.shape == (tokens,)
    for starts, end in (
        (split.sentence_starts, tokens),
        (split.paragraph_starts, split.sentences),
        (split.document_starts, split.paragraphs),
    ):
        assert starts[0] == 0
        assert starts[-1] == end
        assert (np.diff(starts) > 0).all()


def store_or_error(folder: Path, content: bytes, sentences: str = "prose") -> str | UserError:
    """What `content` is after it went through a store, without white space."""
    folder.mkdir()
    (folder / "text.txt").write_bytes(content)
    data = CorpusConfig(
        source=CorpusSource.text,
        path=str(folder / "text.txt"),
        format=Format.prose,
        sentences=sentences,
        min_sentences=1,
        validation_fraction=0.0,
        test_fraction=0.0,
        cache_dir=str(folder / "cache"),
    )
    try:
        prepared = prepare(data, CASED, PairsConfig())
    except UserError as error:
        return error
    check_shape(prepared.splits["train"])
    return "".join(decoded(prepared.splits["train"], prepared.tokenizer))


@pytest.mark.parametrize("seed", range(40))
def test_random_text_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(encoding, "_CHUNK_CHARACTERS", rng.choice([1, 100, 10**6]))
    # The last documents make sure that there are pairs.
    text = random_text(rng) + "\n\nOne here . Two there.\n\nThree . Four.\n"
    found = store_or_error(tmp_path / "a", text.encode(), rng.choice(["prose", "wikitext"]))
    expected = "".join(text.removeprefix("\ufeff").split())
    assert isinstance(found, str)
    assert found.replace(".", "") == expected.replace(".", "")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_come_back_or_are_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    size = rng.choice([0, 1, 10, 10_000])
    content = bytes(rng.choice([*b"ab. A\n\n\r\t\0\xc3\xa9\xff"[: 9 + seed]]) for _ in range(size))
    found = store_or_error(tmp_path / "a", content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        assert f"{tmp_path}/a/text.txt is not UTF-8" in str(found)
        return
    if "\0" in text:
        assert f"byte {content.index(0)} is NUL" in str(found)
    elif isinstance(found, str):
        assert found == "".join(text.split())


@pytest.mark.parametrize("kind", ["zeros", "newlines", "one-word documents", "a gzip of noise"])
def test_hopeless_files_are_refused(tmp_path: Path, kind: str) -> None:
    content = {
        "zeros": bytes(10_000),
        "newlines": b"\n" * 10_000,
        "one-word documents": b"word\n\n" * 1000,
        "a gzip of noise": b"\x1f\x8b\x08" + bytes(range(256)),
    }[kind]
    assert isinstance(store_or_error(tmp_path / "a", content), UserError)


def test_a_line_of_a_hundred_thousand_words(tmp_path: Path) -> None:
    lines = [" ".join(f"w{n % 999}" for n in range(100_000)), "A b. C d.", "", "E f. G h."]
    found = store_or_error(tmp_path / "a", "\n".join(lines).encode())
    assert found == "".join("".join(lines).split())


def _without_soft_hyphens(documents: Counter[str]) -> Counter[str]:
    """Drops what hard line breaks take with them."""
    return Counter(document.replace("\u00ad", "") for document in documents.elements())


def check_folder(folder: Path, seed: int) -> tuple[PlainFolder, bool]:
    """Prepares a random folder; says what it holds, and whether it was prepared."""
    rng = random.Random(seed)
    top = folder / f"{seed}"
    top.mkdir()
    fill(top, rng)
    plain = read_folder_plain(top)
    data = config_of(
        top,
        hard_wrapped=rng.random() < 0.3,
        sentences=rng.choice(["prose", "line"]),
        cache_dir=str(folder / "cache"),
    )
    try:
        corpus = prepare(data, CASED, PairsConfig(PairKind.none))
    except UserError as error:
        message = str(error)
        named = any(shown(name) in message for name in plain.refused)
        empty = any(text in message for text in ("(0 words)", "no text in"))
        assert named or (empty and not plain.documents), message
        assert "\n" not in message
        return plain, False
    assert not plain.refused
    check_shape(corpus.splits["train"])
    found = Counter(decoded(corpus.splits["train"], corpus.tokenizer))
    assert _without_soft_hyphens(found) == _without_soft_hyphens(plain.documents)
    counts = {o.what: o.count for o in corpus.left_out if o.fate == LEFT_OUT}
    assert counts == +plain.left_out
    return plain, True


@pytest.mark.timeout(60)
@ON_LINUX
@pytest.mark.parametrize("seed", range(8))
def test_a_random_folder_comes_back_or_is_refused_by_name(tmp_path: Path, seed: int) -> None:
    check_folder(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@ON_LINUX
def test_random_folders_come_back_or_are_refused_by_name(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    prepared, refused = 0, 0
    for seed in range(1000, 1300):
        plain, read = check_folder(tmp_path, seed)
        prepared += read
        refused += bool(plain.refused)
        left_out += plain.left_out if read else Counter()
    assert prepared > 80
    assert refused > 40
    assert len(left_out) == 10, f"a kind did not occur: {left_out}"
