"""Which documents belong to which split, if the corpus does not say so itself."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from math import ceil

from bert_lightning.config import CorpusConfig
from bert_lightning.errors import UserError

SPLITS = ("train", "validation", "test")
Document = list[list[str]]
"""Paragraphs, each a list of sentences."""


def usable(data: CorpusConfig) -> str:
    """Returns the condition for keeping a paragraph, for a message."""
    if data.min_sentences == 1:
        return "with a sentence"
    return f"with {data.min_sentences} sentences or more"


def ways_out(data: CorpusConfig) -> str:
    """Returns what else helps if no paragraph has the required number of sentences."""
    if data.min_sentences == 1:
        return ""
    return (
        " (data.min_sentences); pairs=segment takes paragraphs of one sentence too, "
        "pairs=none pretrains without pairs"
    )


def require_documents(
    split: str, documents: Iterable[Document], data: CorpusConfig, origin: str
) -> Iterator[tuple[str, Document]]:
    """Passes on the documents of a given split, which must have some."""
    document = None
    for document in documents:
        yield split, document
    if document is None:
        raise UserError(
            f"{origin}: the {split} split has 0 documents that have a paragraph {usable(data)}"
            f"{ways_out(data)}"
        )


def assign_splits(
    documents: Iterator[Document],
    data: CorpusConfig,
    min_documents: int,
    origin: str,
    given: Iterable[str] = (),
) -> Iterator[tuple[str, Document]]:
    """Assigns whole documents, evenly spread over the corpus, to the splits that are not given.

    A document's split follows from its number and the fractions. If the corpus is so small that a
    fraction of it is less than a split needs, it also follows from the number of all documents.
    """
    wanted = {"test": data.test_fraction, "validation": data.validation_fraction}
    fractions = {name: part for name, part in wanted.items() if part > 0 and name not in given}
    if not fractions:
        yield from require_documents("train", documents, data, origin)
        return
    needed = min_documents * (1 + len(fractions))
    enough = [ceil(min_documents / fraction) for fraction in fractions.values()]
    ahead = list(islice(documents, max(needed, *enough)))
    if len(ahead) < needed:
        reason = ", as a random second sentence comes from another document"
        raise UserError(
            f"{origin} has {len(ahead)} documents that have a paragraph {usable(data)}, and "
            f"{needed} are needed, {min_documents} for each split{reason * (min_documents > 1)}; "
            "separate documents by blank lines, give more files, or hold out nothing: "
            + " ".join(f"data.{name}_fraction=0" for name in fractions)
        )
    offered: Counter[str] = Counter()
    assigned: Counter[str] = Counter()
    for document in chain(ahead, documents):
        split = _split_of_next(offered, fractions, min_documents / len(ahead))
        assigned[split] += 1
        yield split, document
    if not assigned["train"]:
        held = " and ".join(f"data.{name}_fraction={part:g}" for name, part in fractions.items())
        raise UserError(
            f"{held} hold out all {assigned.total():,} documents of {origin}: lower one"
        )


def _split_of_next(offered: Counter[str], fractions: dict[str, float], at_least: float) -> str:
    """Returns the split of the next document; `offered` counts the documents offered to each."""
    left = 1.0
    for name, fraction in fractions.items():
        fraction = max(fraction, at_least)
        before, offered[name] = offered[name], offered[name] + 1
        if ceil(offered[name] * fraction / left - 0.5) > ceil(before * fraction / left - 0.5):
            return name
        left -= fraction
    return "train"
