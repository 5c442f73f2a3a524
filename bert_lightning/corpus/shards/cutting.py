"""Where the training split is cut into shards, and the arrays of the documents between two cuts."""

import numpy as np

from bert_lightning.corpus.store import Split

FEWEST_DOCUMENTS = 2
"""Of a shard: a random second half comes from another document of the same shard."""


def cuts(document_tokens: np.ndarray, tokens: int) -> list[int]:
    """Returns the first document of each shard, and the number of documents at the end.

    Documents `(documents,)` of so many tokens each are taken in their order until a shard has
    `tokens` of them, and two documents. A rest of less than half as many joins the last shard.

    >>> cuts(np.array([3, 1, 4, 1, 5, 2, 1]), tokens=4)
    [0, 2, 4, 7]
    """
    ends = np.cumsum(document_tokens)
    found, documents, start = [0], len(ends), 0
    while start < documents:
        before = ends[start - 1] if start else 0
        end = max(start + FEWEST_DOCUMENTS, int(np.searchsorted(ends, before + tokens)) + 1)
        few = documents - end < FEWEST_DOCUMENTS
        if few or 2 * (ends[-1] - ends[end - 1]) < tokens:
            end = documents
        found.append(end)
        start = end
    return found


def part_of_split(split: Split, first: int, end: int) -> dict[str, np.ndarray]:
    """Returns the arrays of a split of these documents alone, counted from 0."""
    paragraphs = split.document_starts[first : end + 1]
    sentences = split.paragraph_starts[paragraphs[0] : paragraphs[-1] + 1]
    tokens = split.sentence_starts[sentences[0] : sentences[-1] + 1]
    return {
        "token_ids": split.token_ids[tokens[0] : tokens[-1]],
        "word_starts": split.word_starts[tokens[0] : tokens[-1]],
        "sentence_starts": tokens - tokens[0],
        "paragraph_starts": sentences - sentences[0],
        "document_starts": paragraphs - paragraphs[0],
    }


def document_tokens(split: Split) -> np.ndarray:
    """Returns the number of tokens `(documents,)` of each document."""
    return np.diff(split.sentence_starts[split.paragraph_starts[split.document_starts]])


def joined(pieces: list[Split], rows: int) -> Split:
    """Returns one split of the documents of all pieces in turn, with the counts of `rows` ids."""
    ids = np.concatenate([piece.token_ids for piece in pieces])
    return Split(
        token_ids=ids,
        word_starts=np.concatenate([piece.word_starts for piece in pieces]),
        sentence_starts=_chained([piece.sentence_starts for piece in pieces]),
        paragraph_starts=_chained([piece.paragraph_starts for piece in pieces]),
        document_starts=_chained([piece.document_starts for piece in pieces]),
        token_counts=np.bincount(ids, minlength=rows),
    )


def _chained(starts: list[np.ndarray]) -> np.ndarray:
    """Joins arrays of starts, each of which begins with 0 and ends with its end.

    >>> _chained([np.array([0, 2, 5]), np.array([0, 1])]).tolist()
    [0, 2, 5, 6]
    """
    return np.concatenate([[0], np.cumsum(np.concatenate([np.diff(each) for each in starts]))])
