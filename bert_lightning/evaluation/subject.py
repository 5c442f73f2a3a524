"""The options and the corpus that a model is evaluated on."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from bert_lightning.config import BatchConfig, CorpusConfig, TokenizerConfig, TrainConfig
from bert_lightning.config.affects import EXAMPLES, TEXT, leaves, named
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.corpus.catalog import store_folder
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus, find_damage, open_corpus
from bert_lightning.errors import UserError
from bert_lightning.pretrained.sources import PretrainedSource


def evaluation_options(
    source: PretrainedSource, given: TrainConfig, overrides: Sequence[str]
) -> tuple[CorpusConfig, BatchConfig]:
    """Returns the options of the text and of the examples: those of the run, and overrides.

    Args:
        source: the model. The checkpoint of a run has the options of its training; for any other
            model they are those of `given`.
        given: the options that the command line composes by itself.
        overrides: that command line. `data=…` selects another text with the run's kind of examples,
            `pairs=…` another kind of examples, `data.…=…` and `batch.…=…` one option.

    Raises:
        UserError: an override would change nothing, or examples are longer than the model reads.
    """
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    for key, override in zip(keys, overrides, strict=True):
        _require_effect(key, override)
    data, batch = given.data, replace(given.batch, phases=None)
    trained = trained_on(source)
    if trained is not None:
        chosen = [name for name in _names() if _is_overridden(name, keys)]
        overridden = _plain(given.data, given.batch)
        options = _plain(trained[0], replace(trained[1], phases=None))
        for name in chosen:
            _copy(name.split("."), overridden, options)
        data = from_plain(CorpusConfig, options["data"])
        batch = from_plain(BatchConfig, options["batch"])
    limit = source.config.max_position_embeddings
    if batch.max_length > limit:
        raise UserError(
            f"batch.max_length={batch.max_length} is more than the {limit} positions of "
            f"{source.name}: batch.max_length={limit} is the most that it reads"
        )
    return data, batch


def _require_effect(key: str, override: str) -> None:
    if key not in ("data", "pairs") and not key.startswith(("data.", "batch.")):
        raise UserError(
            f"{override} would change nothing: an evaluation takes data=, pairs=, data.* and "
            "batch.*, and the model unchanged"
        )
    if key.startswith("batch.masking"):
        raise UserError(
            f"{override} would change nothing: an evaluation set masks 15 % of single tokens, "
            "however training masks, so that results compare"
        )
    if key.startswith("batch.phases"):
        raise UserError(
            f"{override} would change nothing: only training has phases, and an evaluation one "
            "length, batch.max_length"
        )


def _names() -> list[str]:
    return [name for name, _ in leaves(_plain(CorpusConfig(), BatchConfig()))]


def _is_overridden(name: str, keys: Sequence[str]) -> bool:
    example = name in named(TrainConfig, EXAMPLES)
    return (
        ("data" in keys and name.startswith("data.") and not example)
        or ("pairs" in keys and example and name != "batch.max_length")
        or any(name == key or name.startswith(f"{key}.") for key in keys if "." in key)
    )


def _plain(data: CorpusConfig, batch: BatchConfig) -> dict[str, Any]:
    return to_plain({"data": asdict(data), "batch": asdict(batch)})


def _copy(path: Sequence[str], source: dict[str, Any], target: dict[str, Any]) -> None:
    *groups, name = path
    for group in groups:
        source, target = source[group], target[group]
    target[name] = source[name]


def corpus_of(source: PretrainedSource, data: CorpusConfig, batch: BatchConfig) -> PreparedCorpus:
    """Returns the corpus in the model's own tokens: the one of its run, if it still exists.

    Raises:
        UserError: the text is unavailable, or cannot be made into sentence pairs.
    """
    about, trained = source.about, trained_on(source)
    if trained is not None and "corpus_key" in about and _same_text(trained, data, batch):
        folder = store_folder(data, about["corpus"], about["corpus_key"])
        if find_damage(folder) is None:
            found = open_corpus(folder, about["corpus_key"], about["fallback_reason"])
            if found.tokenizer.to_str() == source.tokenizer.to_str():
                return found
    return prepare(data, TokenizerConfig(), batch.pairs, source.tokenizer)


def _same_text(
    trained: tuple[CorpusConfig, BatchConfig], data: CorpusConfig, batch: BatchConfig
) -> bool:
    before, pairs = trained[0], trained[1].pairs
    same = all(getattr(before, name) == getattr(data, name) for name in named(CorpusConfig, TEXT))
    return same and pairs.min_documents == batch.pairs.min_documents


def trained_on(source: PretrainedSource) -> tuple[CorpusConfig, BatchConfig] | None:
    """Returns a run's options of text and batches from its checkpoint; None for other models.

    Raises:
        UserError: they are those of another version.
    """
    config = source.about.get("config", {})
    if "data" not in config or "batch" not in config:
        return None
    try:
        return from_plain(CorpusConfig, config["data"]), from_plain(BatchConfig, config["batch"])
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{source.name} was trained with data options of another version of bert-lightning "
            f"({error}): use the version that wrote it"
        ) from error
