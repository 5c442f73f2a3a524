"""Documents that another one repeats, or resembles, stay on the side of the split that it is on."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from bert_lightning.config import CorpusConfig, CorpusSource
from bert_lightning.corpus.duplicates import DocumentKey, Groups, document_key
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.corpus.splits import Document, assign_splits, split_documents


def config(**options: Any) -> CorpusConfig:
    return CorpusConfig(source=CorpusSource.text, **options)


def split_all(keys: list[DocumentKey], left_out: LeftOut | None = None) -> list[str]:
    return list(assign_splits(iter(keys), config(), 1, "here", left_out or LeftOut()))


def as_before(number: int) -> list[str]:
    """The splits of so many documents that differ."""
    return split_all([(4 * value,) for value in range(number)])


@pytest.mark.parametrize("seed", range(10))
def test_distinct_documents_have_the_splits_that_they_had_without_copies(seed: int) -> None:
    texts = random.Random(seed).choices(range(200), k=300)
    first = list(dict.fromkeys(texts))
    of_first = dict(zip(first, as_before(len(first)), strict=True))
    keys = [document_key([[str(text)]], config()) for text in texts]
    assert split_all(keys) == [of_first[text] for text in texts]


def test_the_sentences_count_and_not_their_paragraphs() -> None:
    one: Document = [["A b.", "C d."], ["E f."]]
    assert document_key(one, config()) == document_key([["A b."], ["C d.", "E f."]], config())
    for other in ([["A b.", "C d."]], [["C d.", "A b."], ["E f."]], [["A b. C d."], ["E f."]]):
        assert document_key(one, config()) != document_key(other, config())


def test_duplicates_are_counted() -> None:
    left_out = LeftOut()
    split_all([*((4 * value,) for value in range(50)), (28,), (28,), (32,)], left_out)
    (found,) = left_out
    assert str(found) == "3 documents that another one repeats"
    assert found.fate == "Kept on one side of the split"


def test_many_values_in_one_table() -> None:
    rng, groups = random.Random(3), Groups()
    wanted: dict[Any, Any] = {}
    for value in (rng.getrandbits(64) & ~3 for _ in range(20_000)):
        split = rng.choice(["train", "validation", "test"])
        wanted.setdefault(value, split)
        groups.add((value,), split)
    assert all(groups.split_of((value,)) == split for value, split in wanted.items())
    assert groups.split_of((rng.getrandbits(64) | 2**63,)) is None


def test_copies_at_the_beginning_take_no_memory() -> None:
    """The splits of a small corpus follow from the number of its documents: it looks ahead."""
    alive = 0

    class Text(list[list[str]]):
        def __init__(self, text: str) -> None:
            nonlocal alive
            alive += 1
            super().__init__([[text]])

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def documents() -> Iterator[Document]:
        for _ in range(500):
            yield Text("the same")
            assert alive < 5
        for number in range(50):
            yield Text(str(number))

    splits = [s for s, _ in split_documents(documents(), config(), 1, "here", LeftOut())]
    assert len(splits) == 550
    assert len({*splits[:500]}) == 1


class TestNearDuplicates:
    @pytest.fixture(autouse=True)
    def _datasketch(self) -> None:
        pytest.importorskip("datasketch", reason="the extra 'dedup' is not installed")

    def text(self, seed: int) -> list[str]:
        return random.Random(seed).choices([f"word{n}" for n in range(2000)], k=300)

    def key(self, words: list[str]) -> DocumentKey:
        return document_key([[" ".join(words)]], config(near_duplicates=0.8))

    def test_similar_ones_share_a_value_and_others_do_not(self) -> None:
        for seed in range(10):
            words = self.text(seed)
            similar = [*words[:150], "another", *words[151:]]  # 5 of 297 runs differ
            assert {*self.key(words)} & {*self.key(similar)}
            assert self.key(words)[0] != self.key(similar)[0]
            assert not {*self.key(words)} & {*self.key(self.text(seed + 100))}

    def test_chinese_is_compared_by_its_characters(self) -> None:
        text = "".join(
            chr(0x4E00 + letter) for letter in random.Random(1).choices(range(900), k=400)
        )
        one, other = (
            document_key([[t]], config(near_duplicates=0.8)) for t in (text, "多" + text + "了")
        )
        assert {*one} & {*other}

    def test_they_stay_on_one_side(self) -> None:
        texts = [self.text(seed) for seed in range(60)]
        edited = [[*words[:150], "another", *words[151:]] for words in texts]
        left_out = LeftOut()
        splits = split_all([*map(self.key, texts), *map(self.key, edited)], left_out)
        assert splits[:60] == as_before(60) == splits[60:]
        assert [str(found) for found in left_out] == [
            "60 documents that resemble an earlier one (data.near_duplicates)"
        ]

    def test_a_document_between_two_splits_is_said(self) -> None:
        keys = [(4 * value, 4 * value + 400) for value in range(1, 60)]
        splits = split_all(keys)
        held, trained = splits.index("validation"), splits.index("train")
        left_out = LeftOut()
        bridge = (4000, keys[held][1], keys[trained][1])
        assert split_all([*keys, bridge], left_out)[-1] == "validation"
        assert "1 documents that resemble documents of several splits" in map(str, left_out)
