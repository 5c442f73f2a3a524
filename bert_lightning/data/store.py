"""The prepared corpus: token ids and offsets in memory-mapped files, made once and then reused.

A store's folder is named by a hash of all that decides its content: the text, the options, the
tokenizer and the code that read them. It is built aside and renamed when it is whole, so a folder
of the final name is always complete.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_dir

from bert_lightning.config import DataConfig, Fallback, TokenizerConfig
from bert_lightning.data import builtin, corpus, sentences, tables, text_files, tokenizer, vocab
from bert_lightning.data.corpus import Document, TextSource
from bert_lightning.data.tables import UnavailableError
from bert_lightning.data.tokenizer import Tokenizer
from bert_lightning.errors import UserError, writing

log = logging.getLogger(__name__)

_ARRAYS = ("token_ids", "sentence_starts", "paragraph_starts", "document_starts")


@dataclass(frozen=True)
class Split:
    """One split: flat ids, and where sentences, paragraphs and documents start.

    Every array of starts has one entry more than there are items, which is the end of the last.
    """

    token_ids: np.ndarray
    """`(tokens,)` uint16 or uint32."""
    sentence_starts: np.ndarray
    """`(sentences + 1,)` int64, counted in tokens."""
    paragraph_starts: np.ndarray
    """`(paragraphs + 1,)` int64, counted in sentences."""
    document_starts: np.ndarray
    """`(documents + 1,)` int64, counted in paragraphs."""

    @property
    def sentences(self) -> int:
        return len(self.sentence_starts) - 1

    @property
    def paragraphs(self) -> int:
        return len(self.paragraph_starts) - 1

    @property
    def documents(self) -> int:
        return len(self.document_starts) - 1

    @property
    def pairs(self) -> int:
        """Pairs of consecutive sentences: one fewer than sentences in each paragraph."""
        return self.sentences - self.paragraphs

    def first_sentence(self, pair: np.ndarray) -> np.ndarray:
        """The first sentence of each consecutive pair `(pairs,)`.

        Before it stand as many sentences as pairs, and one more for each paragraph that ended.
        """
        pairs_before = self.paragraph_starts - np.arange(len(self.paragraph_starts))
        return pair + np.searchsorted(pairs_before, pair, side="right") - 1

    def sentence_length(self, sentence: np.ndarray) -> np.ndarray:
        """Tokens of each sentence."""
        return self.sentence_starts[sentence + 1] - self.sentence_starts[sentence]

    def document_bounds(self, sentence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first sentence of each sentence's document, and the first one behind it."""
        starts = self.paragraph_starts[self.document_starts]
        document = np.searchsorted(starts, sentence, side="right") - 1
        return starts[document], starts[document + 1]


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus that is ready to make batches of."""

    name: str
    """`wikitext2`, `builtin` or `text`: the corpus that is really used."""
    origin: str
    """Where its text came from."""
    fallback_reason: str | None
    """Why the wanted corpus could not be had, where this is another."""
    key: str
    """The hash that names the store."""
    tokenizer: Tokenizer
    splits: dict[str, Split]
    """`train`, and `validation` and `test` where the corpus has them."""


def prepare(data: DataConfig, tokenizer_config: TokenizerConfig) -> PreparedCorpus:
    """Opens the prepared corpus, building it first where it is not in the cache.

    Raises:
        UserError: where the text cannot be had, or cannot be made into sentence pairs.
    """
    source = corpus.find_source(data)
    try:
        return _open_or_build(source, data, tokenizer_config)
    except UnavailableError as unavailable:
        advice = (
            "data.path=FOLDER takes wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens "
            "from a folder; one run with the hub in reach keeps it for runs without; "
            "data=builtin trains on the text that every Python carries"
        )
        if data.fallback is not Fallback.builtin:
            raise UserError(f"{unavailable}. {advice}") from unavailable
        log.warning(
            "WARNING: this is not the corpus you asked for. %s. Training on the BUILT-IN corpus "
            "instead (Python's own documentation). For the corpus itself: %s.",
            unavailable,
            advice,
        )
        return _open_or_build(
            corpus.builtin_source(data), data, tokenizer_config, reason=str(unavailable)
        )


def cache_folder(data: DataConfig) -> Path:
    """The folder that holds prepared corpora."""
    chosen = data.cache_dir or user_cache_dir("bert-lightning")
    return Path(chosen).expanduser().absolute()


def _open_or_build(
    source: TextSource,
    data: DataConfig,
    tokenizer_config: TokenizerConfig,
    reason: str | None = None,
) -> PreparedCorpus:
    key = _key(source, tokenizer_config)
    folder = cache_folder(data) / f"{source.name}-{key[:16]}"
    if not _is_whole(folder):
        with _writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{folder}.lock")
            lock.acquire()
        try:
            if not _is_whole(folder):
                _build(folder, source, tokenizer_config)
        finally:
            lock.release()
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return PreparedCorpus(
        name=source.name,
        origin=source.origin,
        fallback_reason=reason,
        key=key,
        tokenizer=tokenizer.load_tokenizer_text(text),
        splits={name: _open_split(folder / name) for name in manifest["splits"]},
    )


def _key(source: TextSource, tokenizer_config: TokenizerConfig) -> str:
    code = (builtin, corpus, sentences, tables, text_files, tokenizer, vocab)
    parts: dict[str, Any] = {
        "source": source.fingerprint,
        "tokenizer": asdict(tokenizer_config),
        "tokenizer_file": _sha256(tokenizer_config.path),
        "code": [_sha256(module.__file__) for module in code] + [_sha256(__file__)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sha256(path: str | None) -> str | None:
    if path is None or not Path(path).expanduser().is_file():
        return None
    return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()


def _is_whole(folder: Path) -> bool:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    try:
        sizes = json.loads(manifest.read_text(encoding="utf-8"))["bytes"]
    except ValueError:  # cut short
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in sizes.items()
    )


def _build(folder: Path, source: TextSource, tokenizer_config: TokenizerConfig) -> None:
    splits = source.read()
    corpus.check_pairs(source, splits)
    if tokenizer_config.path is None:
        words = vocab.build_tokenizer(
            (s for document in splits["train"] for paragraph in document for s in paragraph),
            tokenizer_config,
            source.text_format,
        )
    else:
        words = tokenizer.load_tokenizer(tokenizer_config.path)

    encoded = {name: _encode(words, documents) for name, documents in splits.items()}
    with _writing(folder):
        _write(folder, source, tokenizer_config, words, encoded)


def _write(
    folder: Path,
    source: TextSource,
    tokenizer_config: TokenizerConfig,
    words: Tokenizer,
    splits: dict[str, Split],
) -> None:
    aside = folder.with_name(f"{folder.name}.tmp")  # the lock is held: nobody else writes there
    for leftover in (aside, folder):
        shutil.rmtree(leftover, ignore_errors=True)  # of a killed build, or damaged
    aside.mkdir()
    (aside / "tokenizer.json").write_text(words.to_str(pretty=True), encoding="utf-8")
    counts = {}
    for name, split in splits.items():
        (aside / name).mkdir()
        for array in _ARRAYS:
            np.save(aside / name / f"{array}.npy", getattr(split, array))
        parts = ("documents", "paragraphs", "sentences", "pairs")
        counts[name] = {part: getattr(split, part) for part in parts}
    files = [path for path in aside.rglob("*") if path.is_file()]
    manifest = {
        "name": source.name,
        "origin": source.origin,
        "fingerprint": source.fingerprint,
        "tokenizer": asdict(tokenizer_config),
        "vocab_size": words.get_vocab_size(),
        "splits": counts,
        "bytes": {str(path.relative_to(aside)): path.stat().st_size for path in files},
    }
    (aside / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    aside.rename(folder)


def _writing(folder: Path) -> AbstractContextManager[None]:
    return writing("the prepared corpus", folder, "data.cache_dir")


def _encode(words: Tokenizer, documents: Sequence[Document]) -> Split:
    paragraphs = [paragraph for document in documents for paragraph in document]
    ids = tokenizer.encode_plain(words, [s for paragraph in paragraphs for s in paragraph])
    narrow = np.uint16 if words.get_vocab_size() <= 2**16 else np.uint32
    return Split(
        token_ids=np.concatenate([np.asarray(sentence, dtype=narrow) for sentence in ids]),
        sentence_starts=_starts([len(sentence) for sentence in ids]),
        paragraph_starts=_starts([len(paragraph) for paragraph in paragraphs]),
        document_starts=_starts([len(document) for document in documents]),
    )


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _open_split(folder: Path) -> Split:
    return Split(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS})
