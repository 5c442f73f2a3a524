"""The head of a task in Hugging Face's format: what config.json says of it, and its weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor

from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.model.hf_names import OWN_CLASSES, OWN_TYPE, class_name

TASK_HEAD = "head."
"""Begins the names of the weights of a task's head, in the model of a run that fine-tuned."""
SEQUENCE, TOKEN = "ForSequenceClassification", "ForTokenClassification"
MULTIPLE_CHOICE, QUESTION = "ForMultipleChoice", "ForQuestionAnswering"
_THEIR_HEADS = (SEQUENCE, TOKEN, MULTIPLE_CHOICE, QUESTION)
"""What the names of transformers' classes with such a head end with."""
_OWN = "bert_lightning_task"
"""The key of config.json for a head that no class there has."""
_POOLING = "pooling"
"""The key of config.json for the vector that a head reads, in models that choose it."""
_NAMES = "bert_lightning_names"
"""The key of config.json for names that are not those of outputs."""
_OUTPUTS = {TaskKind.number: ["score"], TaskKind.question: ["start", "end"]}
"""The names of outputs that are no classes; transformers cannot do without any."""
_OURS = f"{TASK_HEAD}classifier."


class Counterpart(NamedTuple):
    """What in transformers computes what a head does."""

    heads: str
    pooling: Pooling
    """That of transformers' BERT."""
    problem_type: str | None = None


_COUNTERPARTS = {
    TaskKind.text: Counterpart(SEQUENCE, Pooling.pooler, "single_label_classification"),
    TaskKind.pair: Counterpart(SEQUENCE, Pooling.pooler, "single_label_classification"),
    TaskKind.number: Counterpart(SEQUENCE, Pooling.pooler, "regression"),
    TaskKind.tokens: Counterpart(TOKEN, Pooling.cls),
    TaskKind.choice: Counterpart(MULTIPLE_CHOICE, Pooling.pooler),
    TaskKind.question: Counterpart(QUESTION, Pooling.cls),
}


class TaskDescription(TypedDict):
    """What a head is, in plain types."""

    kind: str
    outputs: int
    """Classes; 1 for a number and for a candidate of `choice`; the width of sentence vectors."""
    pooling: str
    names: list[str]
    """Those of the classes, in the order of the outputs; of `choice` the candidates' numbers; none
    for a number."""


def of_bert(task: TaskDescription) -> bool:
    """Returns whether transformers' BERT has such a head."""
    return task["pooling"] == _COUNTERPARTS[TaskKind(task["kind"])].pooling.value


def heads_of(task: TaskDescription, own: bool) -> str | None:
    """Returns what the names of the classes with such a head end with.

    `own` is for a model that is not transformers' BERT; None if it has no class then.
    """
    heads = _COUNTERPARTS[TaskKind(task["kind"])].heads
    return None if own and f"AutoModel{heads}" not in OWN_CLASSES else heads


def to_task_config(task: TaskDescription, own: bool) -> dict[str, Any]:
    """Returns what a `config.json` says of a head; `own` if the model is not transformers' BERT."""
    kind, heads = TaskKind(task["kind"]), heads_of(task, own)
    names, problem = _OUTPUTS.get(kind, task["names"]), _COUNTERPARTS[kind].problem_type
    settings: dict[str, Any] = {
        "architectures": ["BertForTask" if heads is None else class_name(heads, own)],
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }
    if kind in _OUTPUTS and task["names"]:
        settings[_NAMES] = task["names"]
    if own:
        settings[_POOLING] = task["pooling"]
    if heads is None:
        settings |= to_vectors_config(task)
    return settings | ({"problem_type": problem} if problem else {})


def to_vectors_config(task: TaskDescription) -> dict[str, Any]:
    """Returns what a `config.json` says of sentence vectors, and of heads that no class has."""
    return {_OWN: {"kind": task["kind"], "pooling": task["pooling"]}}


def _prefix(heads: str | None, own: bool) -> str:
    """Returns what the names of a head's weights begin with, in transformers' BERT or here."""
    if own:
        return _OURS
    return "qa_outputs." if heads == QUESTION else "classifier."


def to_task_weights(
    weight: Tensor, bias: Tensor, task: TaskDescription, own: bool
) -> dict[str, Tensor]:
    """Returns the weights of a head under the names of the folder."""
    prefix = _prefix(heads_of(task, own), own)
    return {f"{prefix}weight": weight, f"{prefix}bias": bias}


def take_task(
    values: Mapping[str, Any], weights: dict[str, Tensor]
) -> tuple[TaskDescription | None, dict[str, Tensor]]:
    """Returns the task of a `config.json`, and its head's weights, which leave `weights`.

    One text and two are not told apart there. Heads of another kind stay: those of several labels
    or numbers at once.

    Raises:
        UserError: the labels are not those of the weights.
    """
    own: Any = values.get(_OWN)
    architectures = values.get("architectures") or []
    is_own = values.get("model_type") == OWN_TYPE
    theirs = next((one for one in _THEIR_HEADS if class_name(one, is_own) in architectures), None)
    if own is None and theirs is None:
        return None, {}
    if theirs is None and isinstance(own, Mapping) and own.get("kind") == TaskKind.sentence.value:
        return TaskDescription(
            kind=own["kind"], outputs=values["hidden_size"], pooling=own["pooling"], names=[]
        ), {}
    prefix = _prefix(theirs, is_own)
    head = {name: value for name, value in weights.items() if name.startswith(prefix)}
    weight = head.get(f"{prefix}weight")
    is_choice = theirs == MULTIPLE_CHOICE
    if weight is None or (is_choice and len(weight) != 1):
        return None, {}
    outputs, problem = len(weight), values.get("problem_type")
    if problem == "multi_label_classification" or (problem == "regression" and outputs > 1):
        return None, {}
    try:
        unnamed = {0: "1", 1: "2"} if is_choice else {n: f"LABEL_{n}" for n in range(outputs)}
        given = values.get("id2label") or unnamed
        labels = {int(number): str(name) for number, name in given.items()}
        if theirs is None:
            kind, pooling = TaskKind(own["kind"]), Pooling(own["pooling"])
        elif theirs == TOKEN:
            kind, pooling = TaskKind.tokens, Pooling.cls
        elif is_choice:
            kind, pooling = TaskKind.choice, Pooling.pooler
        elif theirs == QUESTION:
            kind, pooling = TaskKind.question, Pooling.cls
        else:
            kind = TaskKind.number if outputs == 1 else TaskKind.text
            pooling = Pooling(values.get(_POOLING, "pooler")) if is_own else Pooling.pooler
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"config.json does not describe its labels ({type(error).__name__}: {error})"
        ) from error
    count = len(labels) if kind is TaskKind.choice else outputs
    if sorted(labels) != list(range(count)) or len({*labels.values()}) < count:
        raise UserError(
            f"config.json names {len({*labels.values()})} different labels in id2label, and the "
            f"classifier has {count}: each needs a name of its own"
        )
    for name in head:
        del weights[name]
    head = {f"{_OURS}{name.removeprefix(prefix)}": value for name, value in head.items()}
    if kind is TaskKind.number:  # the units of its labels
        head |= {f"{TASK_HEAD}mean": torch.zeros(()), f"{TASK_HEAD}scale": torch.ones(())}
    names = [labels[number] for number in range(count)]
    if kind in _OUTPUTS:
        names = [str(name) for name in values.get(_NAMES, [])]
    task = TaskDescription(kind=kind.value, outputs=outputs, pooling=pooling.value, names=names)
    return task, head
