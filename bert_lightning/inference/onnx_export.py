"""An ONNX graph beside an export: made of transformers' model, and compared by onnxruntime."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.inference.export_folder import (
    ONNX,
    Checked,
    compared,
    loaded_by_transformers,
)
from bert_lightning.inference.represent import Text

ONNX_TOLERANCE = 1e-4
"""As that of an export: onnxruntime fuses and orders operations otherwise."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime", "transformers")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""All `(batch, length)` int64, all sizes dynamic."""


class Graph(NamedTuple):
    """What a graph computes."""

    their_class: str
    """The class of transformers that loads what it is made of."""
    outputs: Mapping[str, bool]
    """The names of its outputs, and whether each token has one, or each sequence."""
    has_candidates: bool = False
    """Whether its inputs are `(batch, candidates, length)`."""


PRETRAINING = Graph(
    "AutoModelForPreTraining",
    {"last_hidden_state": True, "prediction_logits": True, "seq_relationship_logits": False},
)


class _WithHidden(nn.Module):
    """A pretrained model that returns the vectors of the last layer too."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, ...]:
        found = self.theirs(input_ids, attention_mask, token_type_ids, output_hidden_states=True)
        return found.hidden_states[-1], found.prediction_logits, found.seq_relationship_logits


def require_onnx(name: str, their_class: str | None) -> None:
    """Raises a UserError if packages are not installed, or transformers has no such model."""
    if their_class is None:
        raise UserError(
            f"{name} has an architecture or a pooling that transformers has no class for, and the "
            "ONNX graph is made of such a class: omit --onnx, or train with arch=bert (and "
            "fine-tune with task.pooling=pooler)"
        )
    if missing := [package for package in _NEEDED if find_spec(package) is None]:
        raise UserError(
            f"--onnx needs {', '.join(missing)}, which this Python does not have: "
            "pip install 'bert-lightning[onnx]'"
        )


def write_graph(folder: Path, graph: Graph, tokenizer: Tokenizer, texts: Sequence[Text]) -> None:
    """Writes the graph of the model that the folder holds already."""
    model, batch = _loaded(folder, graph, tokenizer, texts)
    if graph.has_candidates:  # two examples, as a size of 1 would become fixed
        batch = {name: torch.stack([batch[name]] * 2) for name in _INPUTS}
    dynamic = dict.fromkeys(range(batch[_INPUTS[0]].dim()), torch.export.Dim.DYNAMIC)
    with _quiet():
        torch.onnx.export(
            (_WithHidden(model) if graph is PRETRAINING else model).eval(),
            kwargs={name: batch[name] for name in _INPUTS},
            f=folder / ONNX,
            input_names=_INPUTS,
            output_names=[*graph.outputs],
            dynamic_shapes=dict.fromkeys(_INPUTS, dynamic),
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def check_graph(
    folder: Path,
    graph: Graph,
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    ours: Callable[[Sequence[Text]], Sequence[Tensor]],
) -> Checked:
    """Compares the graph with the model on batches of several sizes, lengths and paddings.

    `ours` returns the model's outputs for texts in the order of the graph's, without padding.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX, providers=["CPUExecutionProvider"])
    checked = []
    for chosen in ([texts[0]], [*texts], [*texts[1:], *texts]):
        _, batch = _loaded(folder, graph, tokenizer, chosen)
        inputs = {name: batch[name].numpy() for name in _INPUTS}
        if graph.has_candidates:
            inputs = {name: ids[None] for name, ids in inputs.items()}
        found = session.run([*graph.outputs], inputs)
        if graph.has_candidates:
            found = [logits.T for logits in found]
        real = batch["attention_mask"].bool()
        theirs = {
            name: torch.from_numpy(value)[real] if of_tokens else torch.from_numpy(value)
            for (name, of_tokens), value in zip(graph.outputs.items(), found, strict=True)
        }
        own = dict(zip(graph.outputs, ours(chosen), strict=True))
        checked.append(compared("onnxruntime", own, theirs, ONNX_TOLERANCE))
    return max(checked, key=lambda one: one.difference)


def both(first: Checked, second: Checked) -> Checked:
    """Returns two checks of one folder as one."""
    return Checked(f"{first.by} and {second.by}", max(first.difference, second.difference))


def _loaded(
    folder: Path, graph: Graph, tokenizer: Tokenizer, texts: Sequence[Text]
) -> tuple[Any, Any]:
    loaded = loaded_by_transformers(folder, graph.their_class, tokenizer, texts)
    assert loaded is not None, "transformers is installed"
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporter says of its own insides."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
