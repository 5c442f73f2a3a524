"""Which documents are held out, where a corpus does not say so itself."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from math import ceil

from bert_lightning.config import CorpusConfig
from bert_lightning.errors import UserError

Document = list[list[str]]
"""Paragraphs, each a list of sentences."""


def usable(data: CorpusConfig) -> str:
    """What a paragraph must be to be kept, as a message says it."""
    fewest = data.min_sentences
    return f"with {fewest} sentences or more" if fewest > 1 else "with a sentence"


def ways_out(data: CorpusConfig) -> str:
    """What else helps where no paragraph has the sentences that are asked for."""
    if data.min_sentences == 1:
        return ""
    return (
        " (data.min_sentences); pairs=segment takes paragraphs of one sentence too, "
        "pairs=none pre-trains without pairs"
    )


def some(
    split: str, documents: Iterable[Document], data: CorpusConfig, origin: str
) -> Iterator[tuple[str, Document]]:
    """The documents of a split that is given, of which there must be one."""
    document = None
    for document in documents:
        yield split, document
    if document is None:
        raise UserError(
            f"{origin}: the {split} split has 0 documents that have a paragraph {usable(data)}"
            f"{ways_out(data)}"
        )


def hold_out(
    documents: Iterator[Document],
    data: CorpusConfig,
    min_documents: int,
    origin: str,
    given: Iterable[str] = (),
) -> Iterator[tuple[str, Document]]:
    """Gives whole documents, evenly spread over the corpus, to the splits that are not given.

    A document's split follows from its number, the shares, and, in a corpus so small that a share
    of it is less than a split needs, from the number of all documents.
    """
    wished = {"test": data.test_fraction, "validation": data.validation_fraction}
    shares = {name: share for name, share in wished.items() if share > 0 and name not in given}
    needed = min_documents * (1 + len(shares))
    enough = [ceil(min_documents / share) for share in shares.values()]
    ahead = list(islice(documents, max(needed, *enough))) if shares else []
    if shares and len(ahead) < needed:
        raise UserError(
            f"{origin} has {len(ahead)} documents that have a paragraph {usable(data)}, and "
            f"{needed} are needed, {min_documents} for each split"
            + (
                ", as a random second sentence comes from another document"
                if min_documents > 1
                else ""
            )
            + "; separate documents by blank lines, give more files, or hold out nothing: "
            + " ".join(f"data.{name}_fraction=0" for name in shares)
        )
    if not shares:
        yield from some("train", documents, data, origin)
        return
    passed: Counter[str] = Counter()
    for document in chain(ahead, documents):
        yield _split_of_next(passed, shares, min_documents / len(ahead)), document


def _split_of_next(passed: Counter[str], shares: dict[str, float], at_least: float) -> str:
    """The split of the next document; `passed` counts those that each split was offered."""
    left = 1.0
    for name, share in shares.items():
        share = max(share, at_least)
        before, passed[name] = passed[name], passed[name] + 1
        if ceil(passed[name] * share / left - 0.5) > ceil(before * share / left - 0.5):
            return name
        left -= share
    return "train"
