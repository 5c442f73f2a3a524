"""From the config to a prepared corpus: opened where the cache has it, else built once.

A store's folder is named by a hash of all that decides its content: the text, the options, the
tokenizer and the code that read them. It is built aside, under a lock, and renamed when it is
whole, so a build that was interrupted is never taken for a store.
"""

import hashlib
import json
import logging
import shutil
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bert_lightning.config import (
    CorpusConfig,
    Fallback,
    Format,
    PairKind,
    PairsConfig,
    TokenizerConfig,
)
from bert_lightning.corpus import (
    encoding,
    extension,
    sentences,
    sources,
    splits,
    store,
    tokenizer,
    vocabulary,
)
from bert_lightning.corpus.cache import hash_file, store_folder
from bert_lightning.corpus.encoding import Encoder, in_chunks
from bert_lightning.corpus.readers import builtin, tables, text_files
from bert_lightning.corpus.sources import TextSource
from bert_lightning.corpus.store import PreparedCorpus, Split, SplitWriter
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError, writing
from bert_lightning.hub import UnavailableError

log = logging.getLogger(__name__)

_CODE = (
    builtin,
    encoding,
    extension,
    sentences,
    sources,
    splits,
    store,
    tables,
    text_files,
    tokenizer,
    vocabulary,
)
_ASIDE = ".tmp"


def prepare(
    data: CorpusConfig,
    tokenizer_config: TokenizerConfig,
    pairs: PairsConfig,
    base: Tokenizer | None = None,
) -> PreparedCorpus:
    """Opens the prepared corpus, building it first where it is not in the cache.

    Args:
        data: the text.
        tokenizer_config: how its tokenizer is built, found or extended.
        pairs: what the examples of each split need.
        base: the tokenizer of a model to go on from, in place of the config's.

    Raises:
        UserError: where the text cannot be had, or cannot be made into sentence pairs.
    """
    source = sources.find_source(data, pairs.min_documents)
    if base is None and tokenizer_config.path is not None:
        base = tokenizer.load_tokenizer(tokenizer_config.path)
    try:
        return _open_or_build(source, data, tokenizer_config, pairs, base)
    except UnavailableError as unavailable:
        advice = (
            "one run with the hub in reach keeps it for runs without; "
            "data=builtin trains on the text that every Python carries"
        )
        if data.format is Format.wikitext:
            advice = (
                "data.path=FOLDER takes wiki.train.tokens, wiki.valid.tokens and "
                f"wiki.test.tokens from a folder; {advice}"
            )
        if data.fallback is not Fallback.builtin:
            raise UserError(f"{unavailable}. {advice}") from unavailable
        log.warning(
            "WARNING: this is not the corpus you asked for. %s. Training on the BUILT-IN corpus "
            "instead (Python's own documentation). For the corpus itself: %s.",
            unavailable,
            advice,
        )
        builtin_source = sources.builtin_source(data, pairs.min_documents)
        return _open_or_build(
            builtin_source, data, tokenizer_config, pairs, base, reason=str(unavailable)
        )


def _open_or_build(
    source: TextSource,
    data: CorpusConfig,
    tokenizer_config: TokenizerConfig,
    pairs: PairsConfig,
    base: Tokenizer | None,
    reason: str | None = None,
) -> PreparedCorpus:
    identity = _identity(source, tokenizer_config, base)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = store_folder(data, source.name, key)
    if store.find_damage(folder) is not None:
        with _writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{folder}.lock")
            lock.acquire()
        try:
            damage = store.find_damage(folder)  # another process may have built it meanwhile
            if damage is not None:
                if folder.exists():
                    log.warning(
                        "The prepared corpus %s is damaged: %s. It is built anew.", folder, damage
                    )
                _build(folder, source, tokenizer_config, base, identity)
        finally:
            lock.release()
    opened = store.open_corpus(folder, key, reason)
    for name, split in opened.splits.items():
        _check_pairs(source.origin, name, split, pairs)
    return replace(opened, origin=source.origin)  # where the same text lies now


def _identity(source: TextSource, words: TokenizerConfig, base: Tokenizer | None) -> dict[str, Any]:
    """All that decides a store's content."""
    files = [Path(str(module.__file__)) for module in _CODE] + [Path(__file__)]
    return {
        "source": source.fingerprint,
        "tokenizer": asdict(words),
        "tokenizer_base": hashlib.sha256(base.to_str().encode()).hexdigest() if base else None,
        "code": {file.stem: hash_file(file) for file in files},
    }


def _check_pairs(origin: str, name: str, split: Split, config: PairsConfig) -> None:
    """Makes sure that such pairs can be drawn from a split."""
    if split.documents < config.min_documents:
        raise UserError(
            f"{origin}: the {name} split has {split.documents} documents, and next-sentence "
            f"prediction needs {config.min_documents} or more, as a random second half comes "
            "from another document; separate documents by blank lines, give more files, or use "
            "batch.pairs.task=sop or pairs=none"
        )
    if split.pairs == 0 and config.kind is PairKind.sentence:
        raise UserError(
            f"{origin}: the {name} split has {split.documents} documents and "
            f"{split.paragraphs} paragraphs, none of them with 2 sentences or more, and "
            "pairs=sentence needs paragraphs that have; pairs=segment pairs over paragraphs, "
            "pairs=none needs no pairs"
        )


def _build(
    folder: Path,
    source: TextSource,
    tokenizer_config: TokenizerConfig,
    base: Tokenizer | None,
    identity: dict[str, Any],
) -> None:
    """Builds the store aside, where nobody else writes while the lock is held, and moves it."""
    aside = folder.with_name(folder.name + _ASIDE)
    words = _frozen_tokenizer(folder) or _make_tokenizer(source, tokenizer_config, base)
    with _writing(folder):
        _clean(folder.parent)
        for leftover in (aside, folder):
            shutil.rmtree(leftover, ignore_errors=True)  # of a killed build, or damaged
        aside.mkdir()
        (aside / store.TOKENIZER).write_text(words.to_str(pretty=True), encoding="utf-8")
    try:
        counts, files = _write_splits(aside, source, words)
        content = {
            "name": source.name,
            "origin": source.origin,
            **identity,
            "vocab_size": words.get_vocab_size(),
            "splits": counts,
        }
        with _writing(folder):
            store.write_manifest(aside, content, files)
            aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write_splits(
    aside: Path, source: TextSource, words: Tokenizer
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, Any]]]:
    """Reads the text once and writes the arrays; the counts and file records of the splits."""
    encoder = Encoder(words)
    counts: dict[str, dict[str, int]] = {}
    files: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        writers: dict[str, SplitWriter] = {}
        for split, documents in in_chunks(source.read()):
            encoded = encoder.encode(documents)
            with _writing(aside):
                if split not in writers:
                    writer = SplitWriter(aside / split, words.get_vocab_size())
                    writers[split] = stack.enter_context(writer)
                writers[split].append(encoded)
        for split in sorted(writers, key=sources.SPLITS.index):
            with _writing(aside):
                counts[split], records = writers[split].finish()
            files |= {f"{split}/{name}": record for name, record in records.items()}
    return counts, files


def _make_tokenizer(
    source: TextSource, config: TokenizerConfig, base: Tokenizer | None
) -> Tokenizer:
    train = (document for split, document in source.read() if split == "train")
    text = (sentence for document in train for paragraph in document for sentence in paragraph)
    if base is not None:
        return extension.extend(base, text, config, source.text_format)
    return vocabulary.build_tokenizer(text, config, source.text_format)


def _frozen_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a store that is damaged elsewhere: training might give another one."""
    manifest = store.read_manifest(folder)
    file = folder / store.TOKENIZER
    if manifest is None or not file.is_file():
        return None
    whole = hash_file(file) == manifest["files"][store.TOKENIZER]["sha256"]
    return store.open_tokenizer(folder) if whole else None


def _clean(cache: Path) -> None:
    """Removes what killed builds of other stores left; a build that goes on holds its lock."""
    for aside in cache.glob(f"*{_ASIDE}"):
        try:
            with FileLock(aside.with_suffix(".lock"), timeout=0):
                shutil.rmtree(aside, ignore_errors=True)
        except Timeout:
            continue


def _writing(folder: Path) -> AbstractContextManager[None]:
    return writing("the prepared corpus", folder, "data.cache_dir")
