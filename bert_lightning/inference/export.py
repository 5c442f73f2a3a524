"""Export of a trained model to a verified folder in Hugging Face's format."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bert_lightning.batch import MASK, PAD, SPECIAL_TOKENS, UNK
from bert_lightning.errors import UserError
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.model_card import model_card
from bert_lightning.inference.represent import Text, run, segments, tokenize
from bert_lightning.model.bert import OWN_OBJECTIVES, inference_mode
from bert_lightning.model.hf_names import (
    DECODER,
    has_counterpart,
    named,
    to_config,
    to_hugging_face,
)
from bert_lightning.pretrained.hf_folder import CONFIG, SAFETENSORS, read_config
from bert_lightning.pretrained.sources import build, open_source

TOLERANCE = 1e-5
"""The largest allowed difference of outputs: absolute up to 1, above that relative to them."""
TOKENIZER, TOKENIZER_CONFIG, CARD = "tokenizer.json", "tokenizer_config.json", "README.md"
FILES = frozenset({CONFIG, SAFETENSORS, TOKENIZER, TOKENIZER_CONFIG, CARD})
_MARK = "bert_lightning_export"
"""The key of config.json that marks an export; its value is the version of the layout."""
_TRICKY = "The Crane's café flew 3.5 @-@ miles<unk>: [MASK], naïve ##ly!"
"""Text on which tokenizers that are not quite equal differ."""


class Exported(NamedTuple):
    """The outcome of an export."""

    folder: Path
    checked_by: str
    """`transformers`, or `bert-lightning` itself."""
    difference: float
    """The largest absolute difference of any output."""


class Outputs(NamedTuple):
    """The outputs for texts: `(total, hidden)`, `(total, vocab)` and `(sequences, 2)`."""

    hidden: Tensor
    mlm_logits: Tensor
    nsp_logits: Tensor


def export(path: str | PathLike[str], folder: str | PathLike[str]) -> Exported:
    """Writes config, weights, tokenizer and model card of a model that can be loaded.

    They are written to a temporary folder, loaded again and compared with the model, and only then
    renamed to `folder`, where they replace an earlier export.

    Raises:
        UserError: the folder holds something else, a head is missing, or the copy differs.
    """
    source = open_source(path)
    if source.missing_heads:
        raise UserError(
            f"{source.name} has no {named(source.missing_heads)}, but an export needs all heads: "
            "train it from these weights first, with init_from="
        )
    bert = PretrainedBert(build(source), source.tokenizer)
    target = Path(folder).expanduser().absolute()
    _check_free(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _writing(target):
            temporary.mkdir(parents=True)
            _write(bert, temporary)
            card = model_card(target.name, source, bert.model)
            (temporary / CARD).write_text(card, encoding="utf-8")
        checked_by, difference = _check(bert, temporary)
        with _writing(target):
            old = temporary.with_suffix(".old")
            if target.exists():
                target.rename(old)
            temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(target, checked_by, difference)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"{target} cannot be written: {error}") from error


def _check_free(target: Path) -> None:
    if not target.exists():
        return
    content = {path.name for path in target.iterdir()} if target.is_dir() else {"a file"}
    mine = content <= FILES and CONFIG in content and _MARK in read_config(target)
    if content and not mine:
        raise UserError(
            f"{target} is neither empty nor an export of bert-lightning (it has "
            f"{', '.join(sorted(content - FILES or content)[:4])}): choose a new or empty folder"
        )


def _write(bert: PretrainedBert, folder: Path) -> None:
    model, tokenizer = bert.model, bert.tokenizer
    config = to_config(model.config, model.encoder.embeddings.word.num_embeddings)
    config |= {"pad_token_id": tokenizer.token_to_id(PAD), _MARK: 1}
    state = {
        name: value.float()
        for name, value in model.state_dict().items()
        if not name.startswith(OWN_OBJECTIVES)
    }
    if has_counterpart(model.config):
        state = to_hugging_face(state)
    else:
        del state[DECODER]
    save_file(state, folder / SAFETENSORS, metadata={"format": "pt"})
    tokenizer.save(str(folder / TOKENIZER))
    # safetensors lets only the owner read; the other file has what the umask allows.
    (folder / SAFETENSORS).chmod((folder / TOKENIZER).stat().st_mode)
    options = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # it reads tokenizer.json unchanged
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": model.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS},
    }
    for name, values in ((CONFIG, config), (TOKENIZER_CONFIG, options)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _check(bert: PretrainedBert, folder: Path) -> tuple[str, float]:
    """Compares the model with its written files; returns their reader and the difference."""
    texts, checked_by = _texts(bert), "transformers"
    ours, theirs = outputs(bert, texts), _transformers_outputs(bert, folder, texts)
    if theirs is None:
        checked_by, again = "bert-lightning", open_source(folder)
        theirs = outputs(PretrainedBert(build(again), again.tokenizer), texts)
    largest = 0.0
    for name, own, other in zip(Outputs._fields, ours, theirs, strict=True):
        difference = float((own - other).abs().max())
        allowed = TOLERANCE * max(1.0, float(own.abs().max()))
        if not difference <= allowed:  # catches NaN too
            raise UserError(
                f"the export does not compute what the model does: its {name}, loaded by "
                f"{checked_by}, differ by {difference:.2g}, more than {allowed:.2g}; nothing was "
                "written"
            )
        largest = max(largest, difference)
    return checked_by, largest


def outputs(bert: PretrainedBert, texts: Sequence[Text]) -> Outputs:
    """Returns the model's outputs for texts and pairs, both heads at every position."""
    encodings = tokenize(bert.tokenizer, texts, bert.max_length, truncate=False)
    encoded = run(bert.model, encodings)
    with inference_mode(bert.model):
        mlm_logits = bert.model.mlm_head(encoded.hidden)
        return Outputs(encoded.hidden, mlm_logits, bert.model.nsp_head(encoded.pooled))


def _transformers_outputs(
    bert: PretrainedBert, folder: Path, texts: Sequence[Text]
) -> Outputs | None:
    """Returns the same by transformers, which pads; None if it cannot load the model."""
    if not has_counterpart(bert.model.config):
        return None
    try:
        from transformers import AutoTokenizer, BertForPreTraining
        from transformers.utils import logging as progress
    except ImportError:
        return None
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    read: list[Text] = [*texts, _TRICKY, (_TRICKY, "It left.")]
    expected = tokenize(bert.tokenizer, read, 2**31, truncate=False)
    for text, own in zip(read, expected, strict=True):
        other = tokenizer(*segments(text))
        if (own.ids, own.type_ids) != (other["input_ids"], other["token_type_ids"]):
            raise UserError(
                f"the export does not tokenize as the model does: transformers turns {text!r} into "
                f"{other['input_ids']}, and the model's own tokenizer into {own.ids}; nothing was "
                "written"
            )
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        model: Any = BertForPreTraining.from_pretrained(folder)
    finally:
        if shown:
            progress.enable_progress_bar()
    batch = tokenizer.pad([tokenizer(*segments(text)) for text in texts], return_tensors="pt")
    real = batch["attention_mask"].bool()
    with torch.inference_mode():
        found = model.eval()(**batch, output_hidden_states=True)
    return Outputs(
        found.hidden_states[-1][real], found.prediction_logits[real], found.seq_relationship_logits
    )


def _texts(bert: PretrainedBert) -> list[Text]:
    """Returns texts and pairs of unequal lengths, of words of one token each."""
    tokenizer, room = bert.tokenizer, min(bert.max_length - 3, 24)
    vocabulary = tokenizer.get_vocab()
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    words = [
        name
        for name in (names[place] for place in np.linspace(0, len(names) - 1, 200).astype(int))
        if name not in SPECIAL_TOKENS and len(tokenizer.encode(name, add_special_tokens=False)) == 1
    ]
    words = (words or [UNK]) * 40
    short, long = max(1, room // 4), max(1, room // 2)
    return [
        " ".join(words[:short]),
        (" ".join(words[short : short + long]), MASK),
        (MASK, " ".join(words[-long:])),
    ]
