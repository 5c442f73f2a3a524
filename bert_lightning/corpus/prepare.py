"""From the config to a prepared corpus: opened if the cache has it, else built once.

Its folder is named by the hash of its identity: the text, the options, the tokenizer and the format
version. Workers make shards of the text, which stay beside it until it is complete. It is merged of
them in a temporary folder, under a lock, and renamed, so that an interrupted build continues and is
never mistaken for a prepared corpus.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Format,
    PairKind,
    PairsConfig,
    TokenizerConfig,
)
from bert_lightning.corpus import catalog, store
from bert_lightning.corpus.fingerprints import hash_file
from bert_lightning.corpus.manifest import digest, identity_of, write_manifest
from bert_lightning.corpus.preparation.executors import workers_of
from bert_lightning.corpus.preparation.merge import add_left_out, assigned_splits, merge
from bert_lightning.corpus.preparation.preparation import (
    VOCABULARY,
    Preparation,
    frozen_tokenizer,
    save_tokenizer,
)
from bert_lightning.corpus.preparation.shards import Shard
from bert_lightning.corpus.readers.left_out import LeftOut, announce
from bert_lightning.corpus.readers.lines import MEGABYTE
from bert_lightning.corpus.shards.reading import open_shards
from bert_lightning.corpus.sources import TextSource, find_source
from bert_lightning.corpus.store import PreparedCorpus, Split
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.corpus.vocabulary.extend import extend
from bert_lightning.corpus.vocabulary.text import Rereadable
from bert_lightning.errors import UserError, writing
from bert_lightning.hub import UnavailableError

log = logging.getLogger(__name__)


def prepare(
    data: CorpusConfig,
    tokenizer_config: TokenizerConfig,
    pairs: PairsConfig,
    base: Tokenizer | None = None,
) -> PreparedCorpus:
    """Opens the prepared corpus, and builds it first if the cache does not have it.

    Each split must have what examples of such `pairs` need. The tokenizer of a pretrained model,
    `base`, takes the place of the config's.

    Raises:
        UserError: the text is unavailable, or cannot be made into sentence pairs.
    """
    if data.source is CorpusSource.shards:
        return _checked(open_shards(data, tokenizer_config, base), pairs)
    source = find_source(data, pairs.min_documents)
    if base is None and tokenizer_config.path is not None:
        base = load_tokenizer(tokenizer_config.path)
    try:
        return _open_or_build(source, data, tokenizer_config, pairs, base)
    except UnavailableError as unavailable:
        files = "wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens"
        local = f"data.path=FOLDER reads {files} from a folder; "
        advice = (
            f"{local if data.format is Format.wikitext else ''}one run with access to the hub "
            "keeps it for runs without; "
            "data=builtin trains on the text that comes with every Python"
        )
        if data.fallback is None:
            raise UserError(f"{unavailable}. {advice}") from unavailable
        log.warning(
            "WARNING: this is not the corpus you asked for. %s. Training on the BUILT-IN corpus "
            "instead (Python's own documentation). For the corpus itself: %s.",
            unavailable,
            advice,
        )
        builtin = replace(data, source=CorpusSource.builtin, name=None, sentences=None)
        source = find_source(builtin, pairs.min_documents)
        return _open_or_build(source, data, tokenizer_config, pairs, base, str(unavailable))


def _open_or_build(
    source: TextSource,
    data: CorpusConfig,
    tokenizer_config: TokenizerConfig,
    pairs: PairsConfig,
    base: Tokenizer | None,
    reason: str | None = None,
) -> PreparedCorpus:
    identity = identity_of(source.fingerprint, tokenizer_config, base)
    key = digest(identity)
    folder = catalog.store_folder(data, source.name, key)
    if store.find_damage(folder):
        with ExitStack() as locked:
            with _writing(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                locked.enter_context(FileLock(catalog.lock_of(folder)))
            damage = store.find_damage(folder)  # another process may have built it meanwhile
            if damage and folder.exists():
                log.warning(
                    "The prepared corpus %s is corrupted: %s. It is built again.", folder, damage
                )
            if damage:
                _build(folder, source, tokenizer_config, base, identity)
    # A preparation that was killed as it ended, its store complete
    shutil.rmtree(folder.with_name(folder.name + catalog.PARTS), ignore_errors=True)
    # The place where the same text is now, and the files beside it
    opened = replace(store.open_corpus(folder, key, reason), origin=source.origin)
    left_out = [*source.unread_files, *opened.left_out]
    opened = _checked(replace(opened, left_out=left_out), pairs)
    announce(left_out)
    return opened


def _checked(corpus: PreparedCorpus, pairs: PairsConfig) -> PreparedCorpus:
    for name, split in corpus.splits.items():
        _check_pairs(f"{corpus.origin}: the {name} split", split, pairs)
    return corpus


def _check_pairs(name: str, split: Split, config: PairsConfig) -> None:
    about = f"{name} has {split.documents} documents"
    if split.documents < config.min_documents:
        raise UserError(
            f"{about}, and next-sentence prediction needs {config.min_documents} or more, as a "
            "random second half comes from another document; separate documents by blank lines, "
            "give more files, or use batch.pairs.task=sop or pairs=none"
        )
    within = config.kind is PairKind.sentence and not config.across_paragraphs
    if split.pairs == 0 and within:
        raise UserError(
            f"{about} and {split.paragraphs} paragraphs, none of them with 2 sentences or more, "
            "and pairs=sentence needs paragraphs that have; pairs=document and pairs=segment pair "
            "over paragraphs, pairs=none needs no pairs"
        )


def _build(
    folder: Path,
    source: TextSource,
    tokenizer_config: TokenizerConfig,
    base: Tokenizer | None,
    identity: dict[str, Any],
) -> None:
    temporary = folder.with_name(folder.name + catalog.TEMPORARY)
    parts = folder.with_name(folder.name + catalog.PARTS)
    with _writing(folder):
        catalog.remove_interrupted(folder.parent)
        _mention_unusable(folder)
        frozen = frozen_tokenizer(folder)
        for leftover in (temporary, folder):
            shutil.rmtree(leftover, ignore_errors=True)  # of an interrupted build, or corrupted
        temporary.mkdir()
        parts.mkdir(exist_ok=True)
        if frozen is not None:  # training may give another
            save_tokenizer(parts / VOCABULARY, frozen)

    def make(text: Rereadable) -> Tokenizer:
        if base is not None:
            return extend(base, text, tokenizer_config, source.data.format)
        return build_tokenizer(text, tokenizer_config, source.data.format)

    about_workers = source.data.prepare, round((source.megabytes or 0) * MEGABYTE), parts
    try:
        with _writing(folder), _kept_unless_refused(parts), workers_of(*about_workers) as workers:
            preparation = Preparation(source, parts, workers)
            tokenizer = preparation.tokenizer(make)
            shards = preparation.encode(tokenizer)
            content = {
                **{"name": source.name, "origin": source.origin, **identity},
                "vocab_size": tokenizer.get_vocab_size(),
                **_merge(temporary, preparation, shards, tokenizer),
            }
            write_manifest(temporary, content)
            temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(parts, ignore_errors=True)


@contextmanager
def _kept_unless_refused(parts: Path) -> Iterator[None]:
    """A context after which finished shards stay, unless another text or options are needed."""
    try:
        yield
    except (UserError, UnavailableError):
        shutil.rmtree(parts, ignore_errors=True)
        raise


def _merge(
    folder: Path, preparation: Preparation, shards: Sequence[Shard], tokenizer: Tokenizer
) -> dict[str, Any]:
    """Writes the arrays and the tokenizer; returns what the manifest says of them."""
    left_out = LeftOut()
    add_left_out(shards, left_out)
    splits = assigned_splits(
        preparation.source, preparation.items, preparation.given, shards, left_out
    )
    counts, files = merge(shards, splits, folder, tokenizer)
    file = folder / store.TOKENIZER
    file.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    files[store.TOKENIZER] = store.file_record(file, hash_file(file))
    return {"splits": counts, "left_out": left_out.to_plain(), "files": files}


def _mention_unusable(folder: Path) -> None:
    """Says how to remove corpora of other format versions, which would stay unnoticed."""
    corpora = catalog.list_corpora(folder.parent)
    own = (folder.name, folder.name + catalog.PARTS)
    unusable = [entry for entry in corpora if entry.folder.name not in own and not entry.usable]
    if unusable:
        log.warning(
            "%s holds prepared corpora that this version of bert-lightning cannot use, or what "
            "interrupted preparations left (%s, %s): "
            "bert-lightning corpora --remove unusable removes them.",
            folder.parent,
            ", ".join(entry.folder.name for entry in unusable),
            catalog.total_size(unusable),
        )


def _writing(folder: Path) -> AbstractContextManager[None]:
    return writing("the prepared corpus", folder, "data.cache_dir")
