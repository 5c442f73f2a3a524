"""The options and the corpus that a model is evaluated on."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import reduce
from operator import getitem
from typing import Any

from bert_lightning.config import BatchConfig, CorpusConfig, TokenizerConfig, TrainConfig
from bert_lightning.config.affects import EXAMPLES, TEXT, leaves, named
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.corpus.catalog import store_folder
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus, find_damage, open_corpus
from bert_lightning.errors import UserError
from bert_lightning.pretrained.initial_weights import check_length
from bert_lightning.pretrained.sources import PretrainedSource


def evaluation_options(
    source: PretrainedSource, given: TrainConfig, overrides: Sequence[str]
) -> tuple[CorpusConfig, BatchConfig]:
    """Returns the options of the text and of the examples: those of the run, and overrides.

    `given` are the options that the command line with these overrides composes by itself; they hold
    for a model that is not of a run. `data=…` selects another text with the run's kind of examples,
    `pairs=…` another kind of examples, `data.…=…` and `batch.…=…` one option.

    Raises:
        UserError: an override would change nothing, examples are longer than the model reads, or
            the model was fine-tuned.
    """
    if "task" in source.about:
        raise UserError(
            f"{source.name} was fine-tuned for task={source.about['task']['kind']}, and evaluate "
            "scores pretrained models: its scores are in the summary.json of its run"
        )
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    for key, override in zip(keys, overrides, strict=True):
        _require_effect(key, override)
    data, batch = given.data, replace(given.batch, phases=None)
    trained = _trained_on(source)
    if trained is not None:
        options = _plain(trained[0], replace(trained[1], phases=None))
        for path, value in leaves(_plain(data, batch)):
            if _is_overridden(path, keys):
                *groups, name = path.split(".")
                reduce(getitem, groups, options)[name] = value
        data = from_plain(CorpusConfig, options["data"])
        batch = from_plain(BatchConfig, options["batch"])
    check_length(source, batch.max_length)
    return data, batch


def _require_effect(key: str, override: str) -> None:
    if key.startswith("batch.masking"):
        reason = (
            "an evaluation set masks 15 % of single tokens, however training masks, so that "
            "results compare"
        )
    elif key.startswith("batch.phases"):
        reason = "only training has phases, and an evaluation one length, batch.max_length"
    elif key in ("data", "pairs") or key.startswith(("data.", "batch.")):
        return
    else:
        reason = "an evaluation takes data=, pairs=, data.* and batch.*, and the model unchanged"
    raise UserError(f"{override} would change nothing: {reason}")


def _is_overridden(name: str, keys: Sequence[str]) -> bool:
    example = name in named(TrainConfig, EXAMPLES)
    return (
        ("data" in keys and name.startswith("data.") and not example)
        or ("pairs" in keys and example and name != "batch.max_length")
        or any(name == key or name.startswith(f"{key}.") for key in keys if "." in key)
    )


def _plain(data: CorpusConfig, batch: BatchConfig) -> dict[str, Any]:
    return to_plain({"data": asdict(data), "batch": asdict(batch)})


def corpus_of(source: PretrainedSource, data: CorpusConfig, batch: BatchConfig) -> PreparedCorpus:
    """Returns the corpus in the model's own tokens: the one of its run, if it still exists."""
    about, trained = source.about, _trained_on(source)
    if trained is not None and "corpus_key" in about and _text(*trained) == _text(data, batch):
        folder = store_folder(data, about["corpus"], about["corpus_key"])
        if find_damage(folder) is None:
            found = open_corpus(folder, about["corpus_key"], about["fallback_reason"])
            if found.tokenizer.to_str() == source.tokenizer.to_str():
                return found
    return prepare(data, TokenizerConfig(), batch.pairs, source.tokenizer)


def _text(data: CorpusConfig, batch: BatchConfig) -> list[Any]:
    """Returns the options that decide the text of a prepared corpus."""
    chosen = [getattr(data, name) for name in named(CorpusConfig, TEXT)]
    return [*chosen, batch.pairs.min_documents]


def _trained_on(source: PretrainedSource) -> tuple[CorpusConfig, BatchConfig] | None:
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
