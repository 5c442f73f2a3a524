"""Checks of a run: the measurement, the limit, the finding and the remedies."""

import math
from functools import partial
from statistics import fmean, median

from bert_lightning.runs.checks import task, text
from bert_lightning.runs.checks.check import Check
from bert_lightning.runs.record import RunRecord

RISE = 0.5
"""Nats by which the training loss may exceed its lowest value; beyond, the run has diverged."""
MARGIN = 0.1
"""Nats below the unigram baseline at which a loss has left the plateau of word frequencies."""
STILL_FALLING = 0.05
"""Nats by which the training loss of a run that should be longer falls over its last quarter."""
OVERFIT = 0.05
"""Nats by which a validation loss may exceed its lowest value."""
STANDARD_ERRORS = 3
"""By which an accuracy must exceed the baselines."""
MOST_EPOCHS = 40
"""The epochs of BERT itself over its corpus (Devlin et al., 2019, appendix A.2)."""
TOKENS_PER_PARAMETER = 20
"""The optimum of causal language models for their compute (Hoffmann et al., 2022,
https://arxiv.org/abs/2203.15556); nothing as firm is known of masked ones."""
MOST_WAITING = 0.1
"""The fraction of training in which the loop may wait for its batches."""
_WINDOW = 5
"""Points of a curve that the median smooths over, at most; a third of them where there are few."""


def diagnose(record: RunRecord) -> list[Check]:
    """Makes all checks for which the run has numbers."""
    return [check for look in _CHECKS if (check := look(record)) is not None]


def _unfinished(record: RunRecord) -> Check | None:
    if record.summary is not None:
        return None
    step = max(curve[-1][0] for curve in record.curves.values()) if record.curves else 0
    return Check(
        "ended",
        f"no summary.json; the last logged step is {step:,}",
        "a run writes it at its end",
        "the run is still going, or it broke off",
        (
            f"resume={record.folder}, if it was stopped",
            "if its last message says that the loss is not finite: a lower optim.lr, a longer "
            "optim.warmup_steps, or trainer.gradient_clip_val=1",
        ),
        {"last_step": step},
    )


def _diverged(record: RunRecord) -> Check | None:
    curve = record.curves.get("train/mlm_loss", [])
    values = [value for _, value in curve]
    if len(values) < 2 and record.not_finite is None:  # from which nothing rises
        return None
    last, lowest, measured = math.nan, math.nan, "no finite training MLM loss"
    if values:
        window = max(1, min(_WINDOW, len(values) // 3))
        ends = range(window, len(values) + 1)
        smooth = [(median(values[end - window : end]), curve[end - 1][0]) for end in ends]
        (lowest, step), (last, _) = min(smooth), smooth[-1]
        measured = f"training MLM loss {last:.3f} at the end, {lowest:.3f} around step {step:,}"
    if record.not_finite is not None:
        measured += f"; a loss is NaN or infinite from step {record.not_finite:,} on"
    rose = last - lowest > RISE or record.not_finite is not None
    return Check(
        "diverged",
        measured,
        f"{RISE} nats above its lowest",
        "the training loss rose and stayed high" if rose else None,
        (
            "an optim.lr that is 3 or 10 times lower",
            "a longer optim.warmup_steps, or trainer.gradient_clip_val=1",
            "arch=modern, which normalizes before the layers",
        ),
        {"last": last, "lowest": lowest} if values else {},
    )


def _plateau(record: RunRecord) -> Check | None:
    curve = record.curves.get("val/mlm_loss")
    baseline = record.number("validation_baselines", "mlm_loss")
    if not curve or baseline is None:
        return None
    step, best = min(curve, key=lambda point: point[1])
    values = [value for _, value in record.curves.get("train/mlm_loss", [])]
    quarter = len(values) // 4
    fall = None
    if quarter:
        fall = fmean(values[-2 * quarter : -quarter]) - fmean(values[-quarter:])
    tries = [
        "an optim.lr that is 3 times higher or lower, with optim.warmup_steps",
        "arch=modern, which normalizes before the layers",
        "more steps for the same text: a smaller batch.global_batch_size",
    ]
    epochs = record.number("epochs")
    if fall is None or fall > STILL_FALLING or (fall >= 0 and epochs is not None and epochs < 1):
        falls = "" if fall is None else f": it fell by {fall:.2f} nats over the last quarter"
        tries.insert(0, f"train longer, with a higher trainer.max_steps{falls}")
    elif fall < -STILL_FALLING:
        tries.insert(0, f"a lower optim.lr: it rose by {-fall:.2f} nats over the last quarter")
    how = "worse" if best > baseline + MARGIN else "no better"
    finding = f"words are predicted {how} than by the unigram baseline"
    return Check(
        "plateau",
        f"lowest validation MLM loss {best:.3f}, at step {step:,}",
        f"{baseline - MARGIN:.3f}, {MARGIN} below the unigram baseline",
        finding if best > baseline - MARGIN else None,
        tuple(tries),
        {"best": best, "baseline": baseline, **({} if fall is None else {"fall": fall})},
    )


def _pair_head(record: RunRecord) -> Check | None:
    accuracy, pairs = record.last("val/nsp_accuracy"), record.number("data", "labels", "pairs_read")
    majority = record.number("data", "labels", "majority")
    length_only = record.number("data", "labels", "length_only_accuracy")
    if accuracy is None or pairs is None or majority is None or length_only is None:
        return None
    error = STANDARD_ERRORS * math.sqrt(majority * (1 - majority) / pairs)
    chance, by_lengths = min(1.0, majority + error), min(1.0, length_only + error)
    finding = None
    if accuracy < chance:
        finding = "the next-sentence head is at chance"
    elif accuracy < by_lengths:
        finding = "the next-sentence head is no better than the length-only baseline"
    return Check(
        "NSP head",
        f"validation accuracy {accuracy:.3f}",
        f"{max(chance, by_lengths):.3f}: the better of the majority baseline {majority:.3f} and "
        f"the length-only baseline {length_only:.3f}, and {STANDARD_ERRORS} standard errors, "
        "at most 1",
        finding,
        (
            "more steps, if the MLM loss still falls",
            "pairs=segment, whose longer halves tell more",
            "a higher objective.nsp_weight; or pairs=none, if you do not need the head",
        ),
        {"accuracy": accuracy, "majority": majority, "by_lengths": length_only, "allowed": error},
    )


def _overfitting(record: RunRecord, name: str, title: str) -> Check | None:
    curve = record.curves.get(f"val/{name}_loss", [])
    if len(curve) < 2:
        return None
    step, best = min(curve, key=lambda point: point[1])
    rise = curve[-1][1] - best
    training = record.curves.get(f"train/{name}_loss", [])
    before = [value for at, value in training if at <= step]
    overfits = rise > OVERFIT and bool(before) and training[-1][1] < before[-1]
    return Check(
        f"overfitting, {title}",
        f"validation loss {curve[-1][1]:.3f} at the end, {best:.3f} at step {step:,}",
        f"{OVERFIT} nats above its lowest, while the training loss falls",
        f"from step {step:,} on the model memorizes its training text" if overfits else None,
        (
            "more text (data=), or fewer steps: trainer.max_steps, or "
            "callbacks.early_stopping_patience=3",
            "a smaller model, or a higher model.hidden_dropout_prob",
            *(("a lower objective.nsp_weight",) if name == "nsp" else ()),
        ),
        {"rise": rise, "best": best, "best_step": step},
    )


def _epochs(record: RunRecord) -> Check | None:
    epochs, tokens = record.number("epochs"), record.number("data", "splits", "train", "tokens")
    if epochs is None or tokens is None:
        return None
    return Check(
        "epochs",
        f"{epochs:.1f} over {tokens:,.0f} tokens",
        f"{MOST_EPOCHS}, as BERT itself",
        "the corpus is too small for so long a run" if epochs > MOST_EPOCHS else None,
        ("more text (data=)", "fewer steps: a lower trainer.max_steps"),
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
        "tokens per parameter",
        f"{ratio:.2g}: {seen:,.0f} tokens seen, {parameters:,.0f} parameters",
        f"{TOKENS_PER_PARAMETER}, a rule of thumb for causal language models",
        "the model has seen few tokens for its size" if ratio < TOKENS_PER_PARAMETER else None,
        tuple(tries),
        {"ratio": ratio, "tokens": seen, "parameters": parameters},
    )


def _waiting(record: RunRecord) -> Check | None:
    curve = [value for _, value in record.curves.get("work/waiting_fraction", [])]
    if not curve:
        return None
    waited = fmean(curve)
    return Check(
        "waiting for data",
        f"{waited:.1%} of the time of training",
        f"{MOST_WAITING:.0%}",
        "the device is faster than its batches are built" if waited > MOST_WAITING else None,
        (
            "batch.num_workers=2, or more of them, to build batches in processes of their own",
            "a larger model or batch, whose steps take longer",
        ),
        {"waiting_fraction": waited},
    )


_CHECKS = (
    _unfinished,
    text.corpus,
    text.left_out,
    text.unknown,
    _diverged,
    _plateau,
    partial(_overfitting, name="mlm", title="words"),
    partial(_overfitting, name="nsp", title="pairs"),
    _pair_head,
    _epochs,
    _tokens_per_parameter,
    _waiting,
    task.learned,
)
