"""Checks of a run that fine-tuned."""

from bert_lightning.runs.checks.check import Check
from bert_lightning.runs.record import RunRecord


def learned(record: RunRecord) -> Check | None:
    """Checks that the model tells labels apart, and better than every baseline."""
    summary = record.summary or {}
    if "degenerate" not in summary:
        return None
    main, score = next(iter(summary["test"].items()))
    baselines = {name: scores[main] for name, scores in summary["baselines"].items()}
    name = main.replace("_", " ")
    beside = "".join(f", {baseline} {value:.3f}" for baseline, value in baselines.items())
    best = max(baselines, key=lambda baseline: baselines[baseline], default=None)
    finding = None
    if summary["degenerate"]:
        finding = "every prediction is the same"
    elif best is not None and score <= baselines[best]:
        finding = f"it scores no better than the baseline {best}"
    return Check(
        "learned",
        f"test {name} {score:.3f}{beside}",
        "above every baseline",
        finding,
        (
            "more steps: a higher trainer.max_epochs",
            "a lower optim.lr, or another seed",
            "a model of init_from that was pretrained longer",
        ),
        {"score": score, **baselines},
    )
