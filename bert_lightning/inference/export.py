"""Export of a pretrained model to a verified folder in Hugging Face's format."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bert_lightning.errors import UserError
from bert_lightning.inference.export_folder import (
    CARD,
    Checked,
    Exported,
    compared,
    export_folder,
    loaded_by_transformers,
    sample_texts,
    write_model,
)
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.model_card import model_card
from bert_lightning.inference.onnx_export import (
    PRETRAINING,
    both,
    check_graph,
    require_onnx,
    write_graph,
)
from bert_lightning.inference.represent import Text, run, tokenize
from bert_lightning.model.bert import OWN_OBJECTIVES, inference_mode
from bert_lightning.model.hf_names import (
    DECODER,
    has_counterpart,
    named,
    to_config,
    to_hugging_face,
)
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source


class Outputs(NamedTuple):
    """The outputs for texts: `(total, hidden)`, `(total, vocab)` and `(sequences, 2)`."""

    hidden: Tensor
    mlm_logits: Tensor
    nsp_logits: Tensor


def export(
    path: str | PathLike[str], folder: str | PathLike[str], *, onnx: bool = False
) -> Exported:
    """Writes config, weights, tokenizer and model card of a model that can be loaded.

    The folder is there only when a reader of the format has found the same outputs in it.
    `onnx` adds an ONNX graph.

    Raises:
        UserError: the folder holds something else, a head is missing, or the copy differs.
    """
    return export_source(open_source(path), folder, onnx=onnx)


def export_source(
    source: PretrainedSource, folder: str | PathLike[str], *, onnx: bool = False
) -> Exported:
    """As :func:`export`, of a model that has been read."""
    if source.missing_heads:
        raise UserError(
            f"{source.name} has no {named(source.missing_heads)}, but an export needs all heads: "
            "train it from these weights first, with init_from="
        )
    if onnx:
        require_onnx(source.name, PRETRAINING.their_class)
    bert = PretrainedBert(build(source), source.tokenizer)
    texts = sample_texts(bert.tokenizer, bert.max_length)

    def write(temporary: Path, name: str) -> None:
        _write(bert, temporary)
        if onnx:
            write_graph(temporary, PRETRAINING, bert.tokenizer, texts)
        card = model_card(name, source, bert.model)
        (temporary / CARD).write_text(card, encoding="utf-8")

    def check(temporary: Path) -> Checked:
        checked = _check(bert, temporary, texts)
        if not onnx:
            return checked
        graph = check_graph(
            temporary, PRETRAINING, bert.tokenizer, texts, lambda chosen: outputs(bert, chosen)
        )
        return both(checked, graph)

    return export_folder(folder, write, check)


def _write(bert: PretrainedBert, folder: Path) -> None:
    model = bert.model
    config = to_config(model.config, model.encoder.embeddings.word.num_embeddings)
    state = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(OWN_OBJECTIVES)
    }
    if has_counterpart(model.config):
        state = to_hugging_face(state)
    else:
        del state[DECODER]
    write_model(folder, config, state, bert.tokenizer)


def _check(bert: PretrainedBert, folder: Path, texts: Sequence[Text]) -> Checked:
    """Compares the model with its written files; returns their reader and the difference."""
    by = "transformers"
    ours, theirs = outputs(bert, texts), _transformers_outputs(bert, folder, texts)
    if theirs is None:
        by, again = "bert-lightning", open_source(folder)
        theirs = outputs(PretrainedBert(build(again), again.tokenizer), texts)
    return compared(by, ours._asdict(), theirs._asdict())


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
    """Returns the same by transformers, which pads; None if it is not installed."""
    loaded = loaded_by_transformers(folder, PRETRAINING.their_class, bert.tokenizer, texts)
    if loaded is None:
        return None
    model, batch = loaded
    real = batch["attention_mask"].bool()
    with torch.inference_mode():
        found = model(**batch, output_hidden_states=True)
    return Outputs(
        found.hidden_states[-1][real], found.prediction_logits[real], found.seq_relationship_logits
    )
