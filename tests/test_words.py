"""README and docs use the field's words, which readers search for, and no private dialect."""

import re
from pathlib import Path

import pytest
from pages import PAGES, prose

USED = (
    *("baseline", "unigram baseline", "majority baseline", "length-only baseline"),
    *("held-out", "evaluation set", "validation split", "test split"),
    *("gradient accumulation", "micro-batch", "global batch", "fraction", "shard"),
    *("data-parallel", "rank", "world size", "process", "resume", "bit-exact"),
    *("checkpoint", "atomic", "verified", "corrupted"),
    *("learning rate", "schedule", "warmup", "decay", "weight decay"),
    *("mixed precision", "autocast", "bf16", "NaN", "non-finite", "overflow"),
    *("throughput", "tokens per second", "step time", "overhead", "peak"),
    *("activations", "optimizer state", "working set", "sweep", "trial", "hyperparameter search"),
    *("pretrain", "pretraining", "fine-tuning", "downstream task", "sentence pair"),
    *("next-sentence prediction", "sentence-order prediction", "masked language modeling"),
    *("tokenizer", "vocabulary", "token", "wordpiece", "padding-free"),
    *("cumulative sequence lengths", "exponential moving average", "EMA"),
    *("stop signal", "graceful shutdown", "preemption", "time budget", "omit", "requires"),
)
"""The words of the field."""

AVOIDED = (
    r"floors?\b(?!\()",  # but math.floor
    *(r"without context", r"shallow", r"shares?\b", r"(?:go|goes|going|went) on\b", r"to the bit"),
    *(r"written whole", r"damaged?", r"passed over", r"rate that falls", r"rounds otherwise"),
    *(r"upkeep", r"a part at work", r"moments\b", r"most that fit", r"pair (?:task|head)"),
    *(r"laid end to end", r"end to end", r"asked to stop", r"(?:by|of) the clock"),
    *(r"(?:leave|left|leaves) away", r"is asked", r"questions\b(?! each)", r"word pieces?"),
    *(r"pre-train\w*", r"warm-up", r"neighbour", r"optimis", r"normalis", r"behaviour", r"colour"),
    *(r"licence", r"recognis", r"modelling"),
)
"""Words that a reader of the field does not know, and spelling that its code does not have."""


@pytest.mark.parametrize("word", USED)
def test_the_words_of_the_field_are_used(word: str) -> None:
    everything = " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in PAGES)
    assert re.search(rf"\b{re.escape(word)}", everything, re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_private_dialect(page: Path) -> None:
    text = " ".join(prose(page).split())
    found = [
        f"{match[0]!r} in: {text[max(0, match.start() - 40) : match.end() + 40]!r}"
        for word in AVOIDED
        for match in re.finditer(rf"\b{word}", text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
