"""Which texts of train belong together, so that their vectors are drawn to each other."""

from collections.abc import Sequence

from bert_lightning.config.task import Positives, TaskConfig
from bert_lightning.errors import UserError
from bert_lightning.finetuning.labelled.examples import LabelledExample

Pairs = tuple[list[LabelledExample], list[str]]
"""Examples of two texts without a label, and sentences about them."""


def positive_pairs(examples: Sequence[LabelledExample], config: TaskConfig, file: str) -> Pairs:
    """Returns the pairs to train on.

    Raises:
        UserError: the rows of the file have scores, and `task.min_score` is not given.
    """
    if config.positives is Positives.dropout:
        return _with_themselves(examples)
    scores = [example.label for example in examples if isinstance(example.label, float)]
    if not scores:
        return list(examples), []
    if config.min_score is None:
        raise UserError(
            f"{file} has scores from {min(scores):g} to {max(scores):g}, and task.positives=pairs "
            "does not know which of its pairs belong together: task.min_score=… is the least score "
            "of those"
        )
    chosen = [
        LabelledExample(example.texts, None, example.place)
        for example in examples
        if isinstance(example.label, float) and example.label >= config.min_score
    ]
    note = f"Training pairs are those of a score of at least {config.min_score:g}"
    return chosen, [f"{note}: {len(chosen):,} of {len(examples):,}."]


def _with_themselves(examples: Sequence[LabelledExample]) -> Pairs:
    """Returns each different text with itself."""
    first: dict[str, str] = {}
    for example in examples:
        for text in example.texts:
            first.setdefault(text, example.place)
    pairs = [LabelledExample((text, text), None, place) for text, place in first.items()]
    return pairs, [f"Training pairs are each different text and itself: {len(pairs):,}."]
