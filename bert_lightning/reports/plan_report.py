"""What `scripts/plan.py` prints of a run that has not been started."""

import json
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bert_lightning.config import TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.sizing.flops import Flops, Parameters
from bert_lightning.sizing.memory import USABLE
from bert_lightning.sizing.plan import GIB, H100_SHARE, Plan, PlanOptions, plan
from bert_lightning.sizing.ways import Way
from bert_lightning.terminal import figures

_PARTS = {
    "embeddings": ("embeddings", None),
    "attention: projections": ("attention", "attention_projections"),
    "attention: scores": (None, "attention_scores"),
    "feed-forward": ("feed_forward", "feed_forward"),
    "norms": ("norms", None),
    "pooler": ("pooler", "pooler"),
    "MLM head": ("mlm_head", "mlm_head"),
    "NSP head": ("nsp_head", "nsp_head"),
    "total": ("total", "total"),
}
"""What a component is called here, and its fields of parameters and FLOPs."""
_STATE = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "moments",
    "copies": "weights cast or gathered",
    "average": "average of the weights",
    "communication": "buckets of gradients",
}
_ACTIVATIONS = {
    "embeddings": ("embeddings", "length"),
    "attention": ("attention", "length"),
    "attention_weights": ("attention weights", "length²"),
    "feed_forward": ("feed-forward", "length"),
    "checkpoints": ("inputs of blocks", "length"),
    "heads": ("heads", "length"),
}


def show_plan(config: TrainConfig, options: PlanOptions, as_json: bool) -> None:
    """Prints what a run will cost, as tables and sentences or as JSON.

    Raises:
        UserError: where the options contradict each other; a run that does not fit is no error.
    """
    made = plan(config, options)
    if as_json:
        found = {
            **asdict(made),
            "parameters": _with_total(made.parameters),
            "forward_flops": _with_total(made.forward_flops),
            "training_flops": _with_total(made.training_flops),
            "memory": {**asdict(made.memory), "state": made.memory.state},
            "fits": made.fits,
            "usable": made.usable,
            "needed": made.needed,
            "micro_batch_size": made.micro_batch_size,
            "largest_micro_batch": made.largest_micro_batch,
            "findings": findings(made),
        }
        print(json.dumps(to_plain(found), indent=2))
        return
    console = Console(highlight=False, markup=False)
    console.print(_title(made), style="bold")
    for table in (_components(made), _memory(made), _ways("length", made.lengths)):
        console.print()
        console.print(table)
    console.print()
    console.print(_ways("options", made.ways))
    console.print()
    for sentence in findings(made):
        console.print(sentence)


def _with_total(counted: Parameters | Flops) -> dict[str, float]:
    return {**asdict(counted), "total": counted.total}


def findings(made: Plan) -> list[str]:
    """In words: what fits, what does not and why, what would help, and how long it takes."""
    return [*_what_fits(made), *_what_grows(made), *_what_helps(made), _time(made)]


def _what_fits(made: Plan) -> list[str]:
    micro, count, length = made.micro_batch_size, made.share.accumulation, made.largest.max_length
    there = f"{_gib(made.usable)} ({_percent(USABLE)} of {_gib(made.device_memory)})"
    at_once = micro * count
    said = []
    if len(made.phases) > 1:
        said.append(
            f"Phase {made.phases.index(made.largest) + 1} of {len(made.phases)} needs most memory, "
            f"with {made.largest.global_batch_size:,} sequences of up to {length} tokens a step."
        )
    if count > 1:
        said.append(
            f"All {at_once:,} sequences of {length} tokens at once would take "
            f"{_gib(made.memory.needed(at_once))} GiB of a device, and {there} are there."
        )
    if not made.largest_micro_batch:
        said.append(
            f"It does not fit: even one sequence at a time takes {_gib(made.memory.needed(1))} "
            f"GiB, and {there} are there."
        )
    elif not made.fits:
        said.append(
            f"It does not fit: micro-batches of {micro:,} take "
            f"{_gib(made.needed)} GiB, and {there} are there; up to "
            f"{made.largest_micro_batch:,} fit."
        )
    else:
        how = (
            f"the same step in {count:,} micro-batches of {micro:,}, whose gradients are added up,"
            if count > 1
            else f"a micro-batch of all {at_once:,} sequences of a device"
        )
        said.append(
            f"It fits: {how} takes {_gib(made.needed)} GiB of {there}; "
            f"up to {made.largest_micro_batch:,} sequences at a time would."
        )
    return said


def _what_grows(made: Plan) -> list[str]:
    one = made.memory.sequence
    each = f"Each sequence at a time adds {_gib(one.kept)} GiB for the backward pass"
    if one.attention_weights:
        share = one.attention_weights / one.kept
        each += (
            f"; {_percent(share)} of it, the attention weights, grows with the square of the length"
        )
    elif made.config.model.activation_checkpointing:
        each += ": a block's input only, the rest is made again for a third more work"
    else:
        each += ": it grows with the length, as flash attention keeps no attention weights"
    return [
        f"Weights, gradients and moments take {_gib(made.memory.state)} GiB, whatever the batch "
        f"and the length. {each}."
    ]


def _what_helps(made: Plan) -> list[str]:
    if made.fits:
        return []
    if made.memory.state > made.usable:
        said = "What does not depend on the batch is too much by itself, so no shorter length helps"
    elif made.largest_micro_batch:
        return ["A smaller batch.micro_batch_size helps; left away, it is chosen to fit."]
    else:
        said = "The activations of a single sequence are too much"
    shorter = [way for way in made.lengths if way.largest_micro_batch]
    helping = [way.overrides for way in [*shorter[-1:], *made.ways] if way.largest_micro_batch]
    return [
        f"{said}. "
        + (
            f"With any of these it fits: {'; '.join(helping)}."
            if helping
            else "None of the options above is enough: it takes more devices, or a smaller model."
        )
    ]


def _time(made: Plan) -> str:
    rate = f"{made.tflops:,.1f} TFLOP/s a device"
    if made.rate_is_assumed:
        precision = made.config.trainer.precision
        rate += f" (assumed: {_percent(H100_SHARE)} of an H100's peak in {precision})"
    steps = " and then ".join(
        f"{phase.steps:,} steps of {phase.global_batch_size:,} sequences"
        + f" of up to {phase.max_length} tokens" * (len(made.phases) > 1)
        for phase in made.phases
    )
    return f"{steps}, {made.tokens:.3g} real tokens: {_hours(made.hours)} at {rate}."


def _title(made: Plan) -> str:
    config, devices = made.config, made.devices
    model, longest = config.model, max(phase.max_length for phase in made.phases)
    kind = "GPU" if devices.on_gpu else "CPU process"
    count = f"{devices.world_size} {kind}{'s' if devices.world_size > 1 else ''}"
    return (
        f"{model.num_hidden_layers} layers, {model.hidden_size:,} hidden, "
        f"{model.vocab_size:,} words; up to {longest} tokens; "
        f"{config.trainer.precision}, {config.strategy.name.value} on {count}"
    )


def _components(made: Plan) -> Table:
    rows = []
    for name, (parameters, flops) in _PARTS.items():
        rows.append(
            [
                name,
                f"{getattr(made.parameters, parameters):,}" if parameters else "",
                _mega(getattr(made.forward_flops, flops)) if flops else "",
                _mega(getattr(made.training_flops, flops)) if flops else "",
            ]
        )
    if made.recomputed_flops:
        rows.append(["blocks, made again", "", "", _mega(made.recomputed_flops)])
    return figures(["", "parameters", "MFLOPs a token, forward", "in training"], rows)


def _memory(made: Plan) -> Table:
    count, one = made.micro_batch_size, made.memory.sequence
    rows = [
        [label, _gib(getattr(made.memory, name)), "model"]
        for name, label in _STATE.items()
        if getattr(made.memory, name)
    ]
    rows += [
        [label, _gib(count * getattr(one, name)), grows]
        for name, (label, grows) in _ACTIVATIONS.items()
        if getattr(one, name)
    ]
    rows.append(["a part at work", _gib(made.needed - made.memory.state - count * one.kept), ""])
    rows.append(["at the peak", _gib(made.needed), ""])
    return figures([f"of a device, {count:,} at a time", "GiB", "grows with"], rows)


def _ways(what: str, ways: Iterable[Way]) -> Table:
    rows = [
        [
            way.overrides or "as asked for",
            _gib(way.state),
            _gib(way.sequence),
            f"{way.largest_micro_batch:,}",
        ]
        for way in ways
    ]
    return figures([what, "GiB fixed", "a sequence", "most that fit"], rows)


def _mega(flops: float) -> str:
    return f"{flops / 1e6:,.2f}"


def _gib(size: float) -> str:
    gib = size / GIB
    return f"{gib:,.0f}" if gib >= 100 else f"{gib:#.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
