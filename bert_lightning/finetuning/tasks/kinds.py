"""The task of each kind."""

from bert_lightning.config.task import TaskKind
from bert_lightning.finetuning.tasks.choice import Choice
from bert_lightning.finetuning.tasks.classes import Pair, Text
from bert_lightning.finetuning.tasks.number import Number
from bert_lightning.finetuning.tasks.question import Question
from bert_lightning.finetuning.tasks.sentence import Sentence
from bert_lightning.finetuning.tasks.task import Task
from bert_lightning.finetuning.tasks.tokens import Tokens

_TASKS: dict[TaskKind, Task] = {
    task.kind: task
    for task in (Text(), Pair(), Number(), Tokens(), Choice(), Sentence(), Question())
}


def task_of(kind: TaskKind) -> Task:
    return _TASKS[kind]
