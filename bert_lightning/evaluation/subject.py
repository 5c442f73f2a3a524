"""What is evaluated, and on which corpus."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from bert_lightning.config import DataConfig, TokenizerConfig
from bert_lightning.config.plain import from_plain, to_plain
from bert_lightning.corpus.cache import store_folder
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus, find_damage, open_corpus
from bert_lightning.errors import UserError
from bert_lightning.pretrained.sources import Source

_PAIRS = ("pairs", "fewest_sentences")
"""Options that `pairs=…` sets."""
_FORM = ("max_length", *_PAIRS)
"""Options that say what an example is, rather than where the text comes from."""
_ANY_TEXT = (
    *("max_length", "masking", "global_batch_size", "micro_batch_size", "phases", "num_workers"),
    "cache_dir",
)
"""Options that the content of a prepared corpus does not depend on."""


def data_options(source: Source, given: DataConfig, overrides: Sequence[str]) -> DataConfig:
    """The data to evaluate on: that of a run, but for what is asked for; else what is `given`.

    Args:
        source: the model. A run's checkpoint says what it was trained on.
        given: the data options that the command line comes to by itself.
        overrides: that command line. `data=…` takes another text in the form of the run's
            examples, `pairs=…` another form, `data.…=…` one option.

    Raises:
        UserError: an override would change nothing, or examples are longer than the model reads.
    """
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    for key, override in zip(keys, overrides, strict=True):
        if key not in ("data", "pairs") and not key.startswith("data."):
            raise UserError(
                f"{override} would change nothing: an evaluation takes data=, pairs= and data.*, "
                "and the model as it is"
            )
        if key.startswith("data.masking"):
            raise UserError(
                f"{override} would change nothing: held out are 15 % of single tokens, whatever "
                "the masks of training, so that results compare"
            )
        if key.startswith("data.phases"):
            raise UserError(
                f"{override} would change nothing: only training has phases, and an evaluation one "
                "length, data.max_length"
            )
    config, trained = given, trained_on(source)
    if trained is not None:
        asked, options = to_plain(asdict(given)), to_plain(asdict(replace(trained, phases=None)))
        if "data" in keys:
            options = {**asked, **{name: options[name] for name in _FORM}}
        if "pairs" in keys:
            options |= {name: asked[name] for name in _PAIRS}
        for key in keys:
            if key.startswith("data."):
                _copy(key.split(".")[1:], asked, options)
        config = from_plain(DataConfig, options)
    if config.max_length > source.config.max_position_embeddings:
        raise UserError(
            f"data.max_length={config.max_length} is more than the "
            f"{source.config.max_position_embeddings} positions of {source.name}: "
            f"data.max_length={source.config.max_position_embeddings} is the most that it reads"
        )
    return config


def _copy(path: Sequence[str], asked: dict[str, Any], options: dict[str, Any]) -> None:
    *groups, name = path
    for group in groups:
        options[group] = dict(options[group])
        asked, options = asked[group], options[group]
    options[name] = asked[name]


def corpus_of(source: Source, data: DataConfig) -> PreparedCorpus:
    """The corpus, in the model's own tokens: the very one that a run saw, if it is still there.

    Raises:
        UserError: the text cannot be had, or cannot be made into sentence pairs.
    """
    about, trained = source.about, trained_on(source)
    same_text = {name: getattr(data, name) for name in _ANY_TEXT}
    if trained is not None and "corpus_key" in about and replace(trained, **same_text) == data:
        folder = store_folder(data, about["corpus"], about["corpus_key"])
        if find_damage(folder) is None:
            found = open_corpus(folder, about["corpus_key"], about["fallback_reason"])
            if found.tokenizer.to_str() == source.tokenizer.to_str():
                return found
    return prepare(data, TokenizerConfig(), source.tokenizer)


def trained_on(source: Source) -> DataConfig | None:
    """The data options of the run that a checkpoint is of; None for other models.

    Raises:
        UserError: they are those of another version.
    """
    options = source.about.get("config", {}).get("data")
    try:
        return None if options is None else from_plain(DataConfig, options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{source.name} was trained with data options of another version of bert-lightning "
            f"({error}): use the version that wrote it"
        ) from error
