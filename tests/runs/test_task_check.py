"""What the doctor says of a run that fine-tuned."""

from pathlib import Path
from typing import Any

import pytest

from bert_lightning.runs.diagnosis import diagnose
from bert_lightning.runs.record import RunRecord


def record(score: float, degenerate: bool = False, **baselines: float) -> RunRecord:
    beside = {name: {"accuracy": value} for name, value in baselines.items()}
    test = {"accuracy": score, "macro_f1": 0.1}
    summary: dict[str, Any] = {"test": test, "degenerate": degenerate, "baselines": beside}
    return RunRecord(Path("run"), summary, {}, None)


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        (record(0.9, majority=0.5, tfidf=0.8), None),
        (record(0.9), None),
        (record(0.5, True, majority=0.4), "every prediction is the same"),
        (record(0.8, majority=0.5, tfidf=0.8), "no better than the baseline tfidf"),
        (record(0.4, majority=0.5), "no better than the baseline majority"),
    ],
)
def test_a_model_that_learned_nothing_is_found(given: RunRecord, finding: str | None) -> None:
    (check,) = diagnose(given)
    assert check.name == "learned"
    assert (check.finding or "").endswith(finding or "")
    assert (check.finding is None) == (finding is None)
    assert "test accuracy" in check.measured
