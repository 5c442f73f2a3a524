"""Whatever the text: a store whose decoded text is the text, or an error that says why."""

import random
from pathlib import Path

import numpy as np
import pytest

from bert_lightning.config import CorpusConfig, CorpusSource, Format, PairsConfig, TokenizerConfig
from bert_lightning.corpus import encoding
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import Split
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError

CASED = TokenizerConfig(min_frequency=1, lowercase=False)
ALPHABETS = [
    "ab",
    "aàßÆŁş",
    "абвΣσς",
    "今天下雨。！",
    "אבגدر",
    "नमस्ते",
    "👩‍👩‍👧🏽🇩🇪☃️",
    "\u0301\u200b\u00ad\ufeff\x00\x1c",
]
MARKS = [". ", "! ", "? ", "… ", "。", ' "', " (", "\t", "\x0b", "\x85", "\u2028", " <unk> ", "\r"]


def random_text(rng: random.Random) -> str:
    def word() -> str:
        alphabet = rng.choice(ALPHABETS)
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 6)))

    def paragraph() -> str:
        number = rng.choice([0, 1, 1, 3, 20])
        return "".join(word() + rng.choice([" ", " ", rng.choice(MARKS)]) for _ in range(number))

    ends = ["\n", "\n", "\n\n", "\r\n", "\n \n\n"]
    return "".join(paragraph() + rng.choice(ends) for _ in range(rng.randint(1, 40)))


def decoded(split: Split, tokenizer: Tokenizer) -> str:
    text = "".join(str(tokenizer.id_to_token(int(i))) for i in split.token_ids)
    return "".join(text.split())  # what Python takes for white space may stand in a word


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
    return decoded(prepared.splits["train"], prepared.tokenizer)


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
    if isinstance(found, str):
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
