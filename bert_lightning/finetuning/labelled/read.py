"""Labelled data, read and checked: the splits of a file, a folder or a data set of the hub."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_lightning.config.task import LabelledConfig, TaskConfig
from bert_lightning.corpus.manifest import digest
from bert_lightning.corpus.readers.left_out import shown
from bert_lightning.corpus.readers.tables import hub_tables, hub_title
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.cells import is_missing
from bert_lightning.finetuning.labelled.columns import Columns
from bert_lightning.finetuning.labelled.examples import LabelledExample, require_known
from bert_lightning.finetuning.labelled.files import (
    SPLITS,
    expanded,
    find_splits,
    named_splits,
)
from bert_lightning.finetuning.labelled.rows import examples_of
from bert_lightning.finetuning.labelled.splits import draw_training, duplicates, hold_out
from bert_lightning.finetuning.labelled.tables import Table, hub_table
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.hub import UnavailableError

_DESCRIBED = {
    "columns": "the columns",
    "validation": "data.validation_fraction",
    "test": "data.test_fraction",
    **{name: f"data.{name}" for name in ("examples_per_class", "train_examples", "split_seed")},
}
"""What an identity has beside classes and splits, as a message says it."""


@dataclass(frozen=True, eq=False)
class LabelledData:
    """The labelled examples of a task."""

    splits: dict[str, list[LabelledExample]]
    """Those of train, validation and test, in this order."""
    names: list[str]
    """The classes of the train split, sorted: their order is their number. Empty for `number`."""
    origin: str
    """The file or folder, or the data set of the hub."""
    key: str
    """SHA-256 of all examples in their order, of their labels and splits, and of the classes."""
    identity: dict[str, Any]
    """In plain types, what the key was made of as far as a person can compare it, and the columns,
    fractions and seed that led to it. No path is in it."""
    notes: list[str]
    """Sentences: which columns and splits were found, and what was held out, left out or drawn."""

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """Says in words how they differ from the data of another identity."""
        now, found = self.identity, list[str]()
        if now["classes"] != before["classes"]:
            classes, earlier = (", ".join(one["classes"]) or "none" for one in (now, before))
            found.append(f"the classes are {classes}, and they were {earlier}")
        for split, summary in now["splits"].items():
            count, earlier = summary["examples"], before["splits"][split]["examples"]
            if count != earlier:
                found.append(f"{split} has {count:,} examples, and it had {earlier:,}")
            elif summary != before["splits"][split]:
                found.append(f"the examples of {split} are others")
        rest = [{**one, **one["held_out"]} for one in (now, before)]
        found += [
            f"{name}: {rest[0].get(key)}, and it was {rest[1].get(key)}"
            for key, name in _DESCRIBED.items()
            if rest[0].get(key) != rest[1].get(key)
        ]
        return found


def read_labelled(data: LabelledConfig, task: TaskConfig, seed: int) -> LabelledData:
    """Reads all splits; those that are not there are held out of train.

    Raises:
        UserError: a file, a column or a cell is not what the task needs, or there is nothing to
            learn. The message has file, row or line, and column.
    """
    own = task_of(task.kind)
    tables, notes, origin = _tables(data, task)
    splits, columns, found = _given_splits(tables, task)
    names = own.names(splits["train"])
    own.require_learnable(splits["train"], names, tables["train"].name)
    for split, examples in splits.items():
        require_known(examples, names, split)
    fractions = {"test": data.test_fraction, "validation": data.validation_fraction}
    fractions = {split: part for split, part in fractions.items() if split not in splits}
    if fractions:
        if splits["train"][0].label is None:
            raise UserError(
                f"{tables['train'].name} is read without labels, and {' and '.join(fractions)} "
                f"would be held out of it: data.{next(iter(fractions))}_path=… names a file with "
                "labels"
            )
        divided, held_out = hold_out(
            splits["train"], fractions, data.split_seed, tables["train"].name, own.together
        )
        splits, found = {**splits, **divided}, found + held_out
    splits["train"], changed = own.to_train_on(splits["train"], task, tables["train"].name)
    splits["train"], drawn = draw_training(splits["train"], data, task.kind, seed)
    if not names:  # of numbers, what was held out or not drawn may be all that differed
        own.require_learnable(splits["train"], names, f"the training examples of {origin}")
    splits = {split: splits[split] for split in SPLITS}
    identity = {
        "task": task.kind.value,
        "classes": names,
        "splits": {split: _summary(examples) for split, examples in splits.items()},
    }
    return LabelledData(
        splits=splits,
        names=names,
        origin=origin,
        key=digest(identity),
        identity={
            **identity,
            "columns": columns,
            "held_out": fractions,
            "examples_per_class": data.examples_per_class,
            "train_examples": data.train_examples,
            "split_seed": data.split_seed if fractions else None,
            "seed": seed if drawn else None,
        },
        notes=notes + found + changed + drawn + duplicates(splits),
    )


def _tables(data: LabelledConfig, task: TaskConfig) -> tuple[dict[str, Table], list[str], str]:
    """Returns the table of each split that has one, sentences about the others, and the origin."""
    if data.hub_repository is not None:
        return _hub_tables(data)
    if data.path is None:
        raise UserError(
            "data.path names no labelled examples: data.path=train.csv is a file, data.path=FOLDER "
            "one with train, dev and test; data.hub_repository=… is a data set of the hub"
        )
    files, notes = find_splits(data)
    own = task_of(task.kind)
    tables = {split: own.table(file, data, split == "test") for split, file in files.items()}
    return tables, notes, shown(expanded(data.path).absolute())


def _hub_tables(data: LabelledConfig) -> tuple[dict[str, Table], list[str], str]:
    assert data.hub_repository is not None
    origin = hub_title(data.hub_repository, data.hub_name)
    try:
        found = hub_tables(data.hub_repository, data.hub_name, data.hub_revision)
    except UnavailableError as error:
        raise UserError(f"{error}; give files of your own: data.path=…") from error
    tables: dict[str, Table] = {}
    unread = []
    for name, rows in sorted(found.items(), key=lambda item: (item[0] not in SPLITS, item[0])):
        splits = named_splits(name)
        if len(splits) == 1 and splits[0] not in tables:
            tables[splits[0]] = hub_table(f"{origin}, {name}", rows)
        else:
            unread.append(name)
    if "train" not in tables:
        raise UserError(f"{origin} has no split named train; it has {', '.join(found)}")
    notes = [f"Not read: the splits {', '.join(unread)} of {origin}."] * bool(unread)
    return {split: tables[split] for split in SPLITS if split in tables}, notes, origin


def _given_splits(
    tables: dict[str, Table], task: TaskConfig
) -> tuple[dict[str, list[LabelledExample]], dict[str, list[str]], list[str]]:
    """Returns the examples of each table, its columns, and sentences about both."""
    own = task_of(task.kind)
    splits: dict[str, list[LabelledExample]] = {}
    columns: dict[str, Columns] = {}
    notes: list[str] = []
    for split, table in tables.items():
        chosen = own.columns(table, task, split, is_divided=len(tables) < len(SPLITS))
        if split == "test" and _lacks_labels(table, chosen):
            notes.append(f"Left out: {table.name}, since its examples have no labels.")
            continue
        splits[split], unlabelled = examples_of(table, chosen, own)
        columns[split] = chosen
        if split != "train" and not splits[split]:
            raise UserError(
                f"{table.name} has no labelled example: data.{split}_path=… names another"
            )
        notes += [f"In {split}, {note}" for note in table.notes]
        if unlabelled:
            notes.append(f"In {split}, examples without a label are left out: {unlabelled:,}.")
        if _read(chosen) != _read(columns["train"]) or split == "train":
            notes += [f"In {split}, {note}" for note in chosen.notes]
    settled = {split: [*examples] for split, examples in own.settled(splits, columns).items()}
    return settled, {split: _read(one) for split, one in columns.items()}, notes


def _read(columns: Columns) -> list[str]:
    return [*columns.texts, str(columns.label)]


def _lacks_labels(table: Table, columns: Columns) -> bool:
    if columns.label is None:
        return True
    return all(is_missing(row.cells[0]) for row in table.rows([columns.label]))


def _summary(examples: Sequence[LabelledExample]) -> dict[str, Any]:
    """Returns the number of examples and the hash of their texts and labels."""
    content = hashlib.sha256()
    for example in examples:
        content.update(json.dumps([example.texts, example.label]).encode() + b"\n")
    return {"examples": len(examples), "sha256": content.hexdigest()}
