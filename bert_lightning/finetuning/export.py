"""Export of a fine-tuned model to a verified folder in Hugging Face's format."""

import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from bert_lightning.config.task import Pooling
from bert_lightning.errors import UserError
from bert_lightning.finetuning.predict import FineTunedBert, describe_task, fine_tuned
from bert_lightning.finetuning.task_card import task_card
from bert_lightning.finetuning.tasks.head import TaskHead
from bert_lightning.finetuning.tasks.kinds import task_of
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
from bert_lightning.inference.onnx_export import (
    Graph,
    both,
    check_graph,
    require_onnx,
    write_graph,
)
from bert_lightning.inference.represent import Text, packed, tokenize
from bert_lightning.inference.sentence_export import export_sentences
from bert_lightning.model.bert import inference_mode
from bert_lightning.model.hf_names import has_counterpart, to_config, to_hugging_face
from bert_lightning.pretrained.sources import PretrainedSource, open_source
from bert_lightning.pretrained.task_head import (
    MULTIPLE_CHOICE,
    QUESTION,
    TASK_HEAD,
    heads_of,
    of_bert,
    to_task_config,
    to_task_weights,
    to_vectors_config,
)

_log = logging.getLogger(__name__)


def export_task(
    source: PretrainedSource, folder: str | PathLike[str], *, onnx: bool = False
) -> Exported:
    """Writes config, weights, tokenizer and model card of a fine-tuned model.

    What transformers has no class for is written for :func:`bert_lightning.load`, and a warning
    says so. `onnx` adds an ONNX graph.

    Raises:
        UserError: the folder holds something else, or the copy differs.
    """
    bert = fine_tuned(source)
    if not isinstance(bert.model.head, TaskHead):
        return _export_vectors(source, bert, folder, onnx)
    heads, texts = _heads(bert), sample_texts(bert.tokenizer, bert.max_length)
    if onnx:
        require_onnx(source.name, heads)
    graph = None
    if onnx and heads:
        is_choice = heads == MULTIPLE_CHOICE
        graph = Graph(f"AutoModel{heads}", _graph_outputs(bert), has_candidates=is_choice)

    def write(temporary: Path, name: str) -> None:
        _write(bert, temporary)
        if graph:
            write_graph(temporary, graph, bert.tokenizer, texts)
        card = task_card(name, source, bert, heads is not None, _is_own(bert))
        (temporary / CARD).write_text(card, encoding="utf-8")

    def check(temporary: Path) -> Checked:
        checked = _check(bert, temporary, texts)
        if graph is None:
            return checked

        def ours(chosen: Sequence[Text]) -> Sequence[Tensor]:
            found = outputs(bert, chosen)
            return [found] if len(graph.outputs) == 1 else found.unbind(1)

        return both(checked, check_graph(temporary, graph, bert.tokenizer, texts, ours))

    exported = export_folder(folder, write, check)
    if heads is None:
        _log.warning(
            "transformers has no class for task=%s of this architecture or pooling; "
            "bert_lightning.load reads it",
            bert.model.shape.kind.value,
        )
    return exported


def _export_vectors(
    source: PretrainedSource, bert: FineTunedBert, folder: str | PathLike[str], onnx: bool
) -> Exported:
    """Writes a model of sentence vectors in the layout of sentence-transformers."""
    pooling = bert.model.shape.pooling
    if onnx:
        raise UserError(
            f"--onnx: {source.name} gives sentence vectors, and they have no ONNX graph: omit it"
        )
    if pooling is Pooling.pooler:
        raise UserError(
            f"{source.name} has task.pooling=pooler, which sentence-transformers lacks: fine-tune "
            "with task.pooling=mean or cls"
        )
    settings = to_vectors_config(describe_task(bert.model.shape, bert.names))
    return export_sentences(source, folder, pooling, normalized=True, settings=settings)


def _is_own(bert: FineTunedBert) -> bool:
    """Returns whether the model is another than transformers' BERT."""
    task = describe_task(bert.model.shape, bert.names)
    return not (has_counterpart(bert.model.config) and of_bert(task))


def _heads(bert: FineTunedBert) -> str | None:
    return heads_of(describe_task(bert.model.shape, bert.names), _is_own(bert))


def _graph_outputs(bert: FineTunedBert) -> dict[str, bool]:
    """Returns the names of the outputs in transformers, and whether each token has them."""
    names = ("start_logits", "end_logits") if _heads(bert) == QUESTION else ("logits",)
    return dict.fromkeys(names, task_of(bert.model.shape.kind).of_tokens)


def _write(bert: FineTunedBert, folder: Path) -> None:
    model, own = bert.model, _is_own(bert)
    config = to_config(model.config, model.encoder.embeddings.word.num_embeddings, own=own)
    task = describe_task(model.shape, bert.names)
    state = model.state_dict()
    body = {name: value for name, value in state.items() if not name.startswith(TASK_HEAD)}
    assert isinstance(model.head, TaskHead)
    head = to_task_weights(*model.head.linear(), task, own)
    weights = (body if own else to_hugging_face(body)) | head
    write_model(folder, config | to_task_config(task, own), weights, bert.tokenizer)


def _check(bert: FineTunedBert, folder: Path, texts: Sequence[Text]) -> Checked:
    """Compares the model with its written files; returns their reader and the difference."""
    by = "transformers"
    theirs = _transformers_outputs(bert, folder, texts)
    if theirs is None:
        by, theirs = "bert-lightning", outputs(fine_tuned(open_source(folder)), texts)
    return compared(by, {"outputs": outputs(bert, texts)}, {"outputs": theirs})


def outputs(bert: FineTunedBert, texts: Sequence[Text]) -> Tensor:
    """Returns the outputs for texts and pairs, `(texts, outputs)`; of `tokens` at every token."""
    encodings = tokenize(bert.tokenizer, texts, bert.max_length, truncate=False)
    sequences = packed(bert.model, encodings)
    positions = sequences.cu_seqlens[:-1]
    if task_of(bert.model.shape.kind).of_tokens:
        positions = torch.arange(len(sequences.token_ids), device=positions.device)
    with inference_mode(bert.model):
        return bert.model(sequences, positions).float().cpu()


def _transformers_outputs(
    bert: FineTunedBert, folder: Path, texts: Sequence[Text]
) -> Tensor | None:
    """Returns the same by transformers, which pads; None if it cannot load the model."""
    if (heads := _heads(bert)) is None:
        return None
    loaded = loaded_by_transformers(folder, f"AutoModel{heads}", bert.tokenizer, texts)
    if loaded is None:
        return None
    model, batch = loaded
    with torch.inference_mode():
        if heads == MULTIPLE_CHOICE:
            return model(**{name: ids[None] for name, ids in batch.items()}).logits.T
        found = model(**batch)
    names = _graph_outputs(bert)
    logits = found.logits if len(names) == 1 else torch.stack([found[name] for name in names], -1)
    of_tokens = task_of(bert.model.shape.kind).of_tokens
    return logits[batch["attention_mask"].bool()] if of_tokens else logits
