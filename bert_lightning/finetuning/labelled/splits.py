"""Which examples train, and which are held out: pure functions of the examples and the seed.

Every example has a place in one random order. Validation and test take theirs from its end, and a
smaller training set takes its beginning, so that it is a part of every larger one.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from bert_lightning.config.task import LabelledConfig, TaskKind
from bert_lightning.data.randomness import Stream, random_bits
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.examples import LabelledExample, classes_of
from bert_lightning.finetuning.tasks.kinds import task_of

Examples = Sequence[LabelledExample]
Common = Callable[[LabelledExample], str | None]
"""Returns what an example has in common with those that it stays together with, if anything."""


def _alone(example: LabelledExample) -> None:
    """Keeps no examples together."""


def hold_out(
    examples: Examples, fractions: dict[str, float], seed: int, name: str, common: Common = _alone
) -> tuple[dict[str, list[LabelledExample]], list[str]]:
    """Divides examples into `train` and the splits of these fractions; each keeps the file's order.

    Each gets its fraction, rounded, and at least one example, and a few more where examples stay
    together. An example stays in train if one of its classes would have none left there.

    Raises:
        UserError: there are too few examples.
    """
    left = Counter(label for example in examples for label in set(classes_of(example)))
    groups = _groups(examples, common)
    waiting = [groups[number] for number in _order(len(groups), seed)[::-1]]
    splits: dict[str, list[LabelledExample]] = {}
    train = set(range(len(examples)))
    for split, fraction in fractions.items():
        wanted = max(1, round(len(examples) * fraction))
        taken: list[int] = []
        for group in waiting:
            labels = Counter(label for place in group for label in {*classes_of(examples[place])})
            if len(taken) >= wanted:
                break
            if train.issuperset(group) and all(left[one] > labels[one] for one in labels):
                taken += group
                left.subtract(labels)
                train.difference_update(group)
        if not taken or not train:
            raise UserError(
                f"{name}: {len(examples):,} examples are too few to hold out "
                f"{' and '.join(fractions)} and to leave each class one to train on: give more, or "
                f"a file of the {split} split: data.{split}_path=…"
            )
        splits[split] = [examples[place] for place in sorted(taken)]
    notes = [
        f"Held out of train: {len(splits[split]):,} examples ({fractions[split]:.3g} of "
        f"{len(examples):,}) for {split}."
        for split in splits
    ]
    return {"train": [examples[place] for place in sorted(train)], **splits}, notes


def _groups(examples: Examples, common: Common) -> list[list[int]]:
    """Returns the places of the examples that stay together."""
    groups: dict[str | int, list[int]] = {}
    for place, example in enumerate(examples):
        shared = common(example)
        groups.setdefault(place if shared is None else shared, []).append(place)
    return list(groups.values())


def draw_training(
    examples: Examples, data: LabelledConfig, kind: TaskKind, seed: int
) -> tuple[list[LabelledExample], list[str]]:
    """Returns the training examples that `data` keeps, in the order of the file.

    Raises:
        UserError: it keeps more than there are or fewer than classes, or some of each class where
            an example has no one class.
    """
    if data.examples_per_class is not None:
        return _draw_per_class(examples, data.examples_per_class, kind, seed)
    if data.train_examples is None:
        return list(examples), []
    if data.train_examples > len(examples):
        raise UserError(
            f"data.train_examples={data.train_examples} is more than the {len(examples):,} "
            "examples of the train split: give fewer, or omit it to train on all"
        )
    classes = _classes(examples)
    if task_of(kind).has_classes and data.train_examples < len(classes):
        raise UserError(
            f"data.train_examples={data.train_examples} is fewer than the {len(classes)} classes: "
            "give more, or draw data.examples_per_class=1"
        )
    drawn = [
        examples[place] for place in sorted(_order(len(examples), seed)[: data.train_examples])
    ]
    notes = [f"Drawn: {len(drawn):,} of {len(examples):,} training examples."]
    if missing := len(classes - _classes(drawn)):
        notes.append(f"{missing} of the {len(classes)} classes have no example among the drawn.")
    return drawn, notes


def _classes(examples: Examples) -> set[str]:
    return {label for example in examples for label in classes_of(example)}


def _draw_per_class(
    examples: Examples, number: int, kind: TaskKind, seed: int
) -> tuple[list[LabelledExample], list[str]]:
    if not task_of(kind).has_classes:
        raise UserError(
            f"data.examples_per_class={number} with task={kind.value}, where an example has no one "
            "class: use data.train_examples"
        )
    taken: Counter[str] = Counter()
    places = []
    for place in _order(len(examples), seed):
        (label,) = classes_of(examples[place])
        if taken[label] < number:
            taken[label] += 1
            places.append(place)
    notes = [f"Drawn: {len(places):,} of {len(examples):,} training examples, {number} of a class."]
    if fewer := sorted(label for label, count in taken.items() if count < number):
        notes.append(f"{len(fewer)} of {len(taken)} classes have fewer: {', '.join(fewer[:5])}.")
    return [examples[place] for place in sorted(places)], notes


def duplicates(splits: dict[str, list[LabelledExample]]) -> list[str]:
    """Returns a sentence for each held-out split with texts that train has as well."""
    trained = {example.texts for example in splits["train"]}
    notes = []
    for split, examples in splits.items():
        count = sum(example.texts in trained for example in examples)
        if split != "train" and count:
            notes.append(
                f"{count:,} of the {len(examples):,} examples of {split} have texts that train "
                "has as well."
            )
    return notes


def _order(size: int, seed: int) -> np.ndarray:
    """Returns a random order of the examples: by random bits of the seed and the index."""
    return np.argsort(random_bits(seed, Stream.labelled, np.arange(size)), kind="stable")
