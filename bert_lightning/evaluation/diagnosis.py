"""What may be wrong with a run, each with the number it rests on, the limit and what to try."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, median

from bert_lightning.data.length_baseline import LabelStatistics
from bert_lightning.evaluation.run_record import Curve, RunRecord

RISE = 0.5
"""Nats that the training loss may stand above its lowest; beyond it the run has diverged."""
MARGIN = 0.1
"""Nats below its floor at which a loss has left the plateau of word frequencies."""
STILL_FALLING = 0.05
"""Nats by which the training loss falls over the last quarter of a run that is not done."""
OVERFIT = 0.05
"""Nats that a validation loss may stand above its lowest."""
STANDARD_ERRORS = 3
"""By which an accuracy must lie above chance."""
MOST_EPOCHS = 40
"""As many as BERT made over its own corpus (Devlin et al., 2019, appendix A.2)."""
TOKENS_PER_PARAMETER = 20
"""What a causal language model wants of a given budget (Hoffmann et al., 2022,
https://arxiv.org/abs/2203.15556); nothing as firm is known of masked ones."""
_WINDOW = 5
"""Points of a curve whose median is taken for the middle one."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    measured: str
    """In words, with the numbers it rests on."""
    limit: str
    finding: str | None = None
    """What is wrong; None where nothing is."""
    tries: tuple[str, ...] = ()
    """What to do about it, the likeliest first."""
    numbers: dict[str, float] = field(default_factory=dict)


def diagnose(record: RunRecord) -> list[Check]:
    """All checks that the run left numbers for."""
    return [check for look in _CHECKS if (check := look(record)) is not None]


def _unfinished(record: RunRecord) -> Check | None:
    if record.summary is not None:
        return None
    step = max(curve[-1][0] for curve in record.curves.values()) if record.curves else 0
    return Check(
        "ended",
        f"no summary.json; the last logged step is {step:,}",
        "it is written at the end",
        "the run still goes on, or it broke off",
        (
            f"resume={record.folder}, if it was stopped",
            "if its last message says that the loss is not finite: a lower optim.lr, a longer "
            "optim.warmup_steps, or trainer.gradient_clip_val=1",
        ),
        {"last_step": step},
    )


def _corpus(record: RunRecord) -> Check | None:
    if record.summary is None or "corpus" not in record.summary:
        return None
    reason = record.summary.get("fallback_reason")
    return Check(
        "corpus",
        f"{record.summary['corpus']} ({record.summary.get('corpus_origin')})",
        "the one asked for",
        f"it is not the corpus asked for: {reason}" if reason else None,
        ("data.path=FOLDER takes the text from this machine", "data.fallback=null makes it fail"),
    )


def _diverged(record: RunRecord) -> Check | None:
    curve = record.curves.get("train/mlm_loss", [])
    values = [value for _, value in curve]
    if not values:
        return None
    window = min(_WINDOW, len(values))
    smooth = [
        (median(values[end - window : end]), curve[end - 1][0])
        for end in range(window, len(values) + 1)
    ]
    (lowest, step), (last, _) = min(smooth), smooth[-1]
    measured = f"training MLM loss {last:.3f} at the end, {lowest:.3f} around step {step:,}"
    if record.not_finite is not None:
        measured += f"; values that are no numbers from step {record.not_finite:,} on"
    return Check(
        "diverged",
        measured,
        f"{RISE} nats above its lowest",
        "the training loss went up and stayed there"
        if last - lowest > RISE or record.not_finite is not None
        else None,
        (
            "a lower optim.lr, by 3 or 10 times",
            "a longer optim.warmup_steps, or trainer.gradient_clip_val=1",
            "arch=modern, whose norms stand before the layers",
        ),
        {"last": last, "lowest": lowest},
    )


def _plateau(record: RunRecord) -> Check | None:
    curve, floor = (
        record.curves.get("val/mlm_loss"),
        record.number("validation_baselines", "mlm_loss"),
    )
    if not curve or floor is None:
        return None
    step, best = min(curve, key=lambda point: point[1])
    fall = _fall(record.curves.get("train/mlm_loss", []))
    tries = [
        "another optim.lr, 3 times as high or as low, with optim.warmup_steps",
        "arch=modern, whose norms stand before the layers",
        "more steps for the same text: a smaller batch.global_batch_size",
    ]
    epochs = record.number("epochs")
    if fall is None or fall > STILL_FALLING or (epochs is not None and epochs < 1):
        falls = "" if fall is None else f": it fell by {fall:.2f} nats over the last quarter"
        tries.insert(0, f"go on, with a higher trainer.max_steps{falls}")
    finding = None
    if best > floor - MARGIN:
        finding = "the words are told no better than by their frequency alone"
        if best > floor + MARGIN:
            finding = "the words are told worse than by their frequency alone"
    return Check(
        "plateau",
        f"lowest validation MLM loss {best:.3f}, at step {step:,}",
        f"{floor - MARGIN:.3f}, {MARGIN} below that of word frequencies alone",
        finding,
        tuple(tries),
        {"best": best, "floor": floor, **({} if fall is None else {"fall": fall})},
    )


def _fall(curve: Curve) -> float | None:
    """By how much the mean of the last quarter lies below that of the quarter before."""
    values = [value for _, value in curve]
    quarter = len(values) // 4
    if not quarter:
        return None
    return fmean(values[-2 * quarter : -quarter]) - fmean(values[-quarter:])


def _pair_head(record: RunRecord) -> Check | None:
    accuracy, labels = record.last("val/nsp_accuracy"), _labels(record)
    if accuracy is None or labels is None:
        return None
    error = STANDARD_ERRORS * math.sqrt(labels.majority * (1 - labels.majority) / labels.pairs_read)
    chance, by_lengths = labels.majority + error, labels.length_only_accuracy + error
    finding = None
    if accuracy <= chance:
        finding = "the next-sentence head is at chance"
    elif accuracy <= by_lengths:
        finding = "the next-sentence head does no better than the two lengths alone"
    return Check(
        "pair head",
        f"validation accuracy {accuracy:.3f}",
        f"{max(chance, by_lengths):.3f}: the majority {labels.majority:.3f} or the lengths "
        f"{labels.length_only_accuracy:.3f}, and {STANDARD_ERRORS} standard errors",
        finding,
        (
            "more steps, if the words are still being learned",
            "pairs=segment, whose halves have more to go by",
            "a higher objective.nsp_weight; or pairs=none, if the head is not needed",
        ),
        {
            "accuracy": accuracy,
            "majority": labels.majority,
            "by_lengths": labels.length_only_accuracy,
            "allowed": error,
        },
    )


def _labels(record: RunRecord) -> LabelStatistics | None:
    names = ("pairs_read", "majority", "length_only_accuracy")
    values = [record.number("data", "labels", name) for name in names]
    pairs, majority, shallow = values
    if pairs is None or majority is None or shallow is None:
        return None
    return LabelStatistics(int(pairs), majority, shallow)


def _overfitting(name: str, title: str) -> Callable[[RunRecord], Check | None]:
    def check(record: RunRecord) -> Check | None:
        curve = record.curves.get(f"val/{name}_loss", [])
        if len(curve) < 2:
            return None
        step, best = min(curve, key=lambda point: point[1])
        rise = curve[-1][1] - best
        training = record.curves.get(f"train/{name}_loss", [])
        before = [value for at, value in training if at <= step]
        learns_on = bool(before) and training[-1][1] < before[-1]
        return Check(
            f"overfitting, {title}",
            f"validation loss {curve[-1][1]:.3f} at the end, {best:.3f} at step {step:,}",
            f"{OVERFIT} nats above its lowest, while the training loss falls",
            f"from step {step:,} on the model learned its training text by heart"
            if rise > OVERFIT and learns_on
            else None,
            (
                "more text (data=), or fewer steps: trainer.max_steps, or "
                "callbacks.early_stopping_patience=3",
                "a smaller model, or more of model.hidden_dropout_prob",
                *(("a lower objective.nsp_weight",) if name == "nsp" else ()),
            ),
            {"rise": rise, "best": best, "best_step": step},
        )

    return check


def _epochs(record: RunRecord) -> Check | None:
    epochs, tokens = record.number("epochs"), record.number("data", "splits", "train", "tokens")
    if epochs is None or tokens is None:
        return None
    return Check(
        "epochs",
        f"{epochs:.1f} over {tokens:,.0f} tokens",
        f"{MOST_EPOCHS}, as BERT made",
        "the corpus is small for so long a run" if epochs > MOST_EPOCHS else None,
        (
            "more text (data=)",
            "fewer steps: a lower trainer.max_steps",
        ),
        {"epochs": epochs, "corpus_tokens": tokens},
    )


def _tokens_per_parameter(record: RunRecord) -> Check | None:
    seen, parameters = record.number("real_tokens"), record.number("parameters")
    steps, epochs = record.number("steps"), record.number("epochs")
    if not (seen and parameters and steps and epochs):
        return None
    ratio = seen / parameters
    more = TOKENS_PER_PARAMETER / ratio
    longer = f"trainer.max_steps={math.ceil(steps * more)}, which is {epochs * more:,.0f} epochs"
    tries = [longer, "a smaller model (model=)"]
    if epochs * more > MOST_EPOCHS:
        tries = ["more text (data=), or a smaller model (model=)", longer]
    return Check(
        "tokens a parameter",
        f"{ratio:.2g}: {seen:,.0f} tokens read, {parameters:,.0f} parameters",
        f"{TOKENS_PER_PARAMETER}, a rule of thumb of causal models",
        "the model has read little for its size" if ratio < TOKENS_PER_PARAMETER else None,
        tuple(tries),
        {"ratio": ratio, "tokens": seen, "parameters": parameters},
    )


_CHECKS = (
    _unfinished,
    _corpus,
    _diverged,
    _plateau,
    _overfitting("mlm", "words"),
    _overfitting("nsp", "pairs"),
    _pair_head,
    _epochs,
    _tokens_per_parameter,
)
