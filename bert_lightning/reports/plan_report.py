"""The plan of a run on the terminal: whether it fits, what it costs, how long it takes."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bert_lightning.config import StrategyName, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.sizing.memory import USABLE, byte_widths
from bert_lightning.sizing.plan import ASSUMED_UTILIZATION, GIB, Plan, PlanOptions, plan
from bert_lightning.terminal import figures

_PARTS = {
    "embeddings": ("embeddings", ()),
    "attention": ("attention", ("attention_projections", "attention_scores")),
    "feed-forward": ("feed_forward", ("feed_forward",)),
    "norms": ("norms", ()),
    "MLM head": ("mlm_head", ("mlm_head",)),
    "pooler": ("pooler", ("pooler",)),
    "NSP head": ("nsp_head", ("nsp_head",)),
    "total": ("total", ("total",)),
}
"""The label of each component, and its fields of `Parameters` and `Flops`."""
_FIXED = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer_state": "optimizer state",
    "weight_copies": "weights, cast or gathered",
    "ema": "EMA of the weights",
    "gradient_buckets": "gradient buckets",
}


def show_plan(config: TrainConfig, options: PlanOptions, as_json: bool) -> None:
    """Prints the plan of a run, for people or as JSON.

    Raises:
        UserError: the options contradict each other; a run that does not fit is no error.
    """
    planned = plan(config, options)
    if as_json:
        print(json.dumps(_plain(planned), indent=2))
        return
    console = Console(highlight=False, markup=False)
    console.print(_title(planned), style="bold")
    for sentence in verdict(planned):
        console.print(sentence)
    for table in (_components(planned), _memory(planned)):
        console.print()
        console.print(table)


def _plain(planned: Plan) -> dict[str, object]:
    computed = ("fits", "usable", "peak", "micro_batch_size", "largest_micro_batch")
    values = to_plain(asdict(planned))
    for name in ("parameters", "training_flops"):
        values[name]["total"] = getattr(planned, name).total
    values["memory"]["fixed"] = planned.memory.fixed
    values |= {name: getattr(planned, name) for name in computed}
    return {**values, "verdict": verdict(planned)}


def verdict(planned: Plan) -> list[str]:
    """Returns the sentences that say whether the run fits, why, and how long it takes."""
    return [*_phase(planned), _fit(planned), *_way_out(planned), _time(planned)]


def _phase(planned: Plan) -> list[str]:
    phases, largest = planned.phases, planned.largest
    if len(phases) == 1:
        return []
    return [
        f"Phase {phases.index(largest) + 1} of {len(phases)} needs most memory, with "
        f"{largest.global_batch_size:,} sequences of up to {largest.max_length} tokens a step."
    ]


def _fit(planned: Plan) -> str:
    micro, count = planned.micro_batch_size, planned.partition.accumulation
    largest = planned.largest_micro_batch
    limit = f"and {_gib(planned.usable)} GiB may be used ({USABLE:.0%} of a device)"
    if not largest:
        return f"It does not fit: one sequence needs {_gib(planned.memory.peak(1))} GiB, {limit}."
    batches = f"{count:,} micro-batches" if count > 1 else "one micro-batch"
    needs = f"a step of {batches} of {micro:,} needs {_gib(planned.peak)} GiB, {limit}"
    said = "It fits" if planned.fits else "It does not fit"
    return f"{said}: {needs}; the largest micro-batch that fits is {largest:,}."


def _way_out(planned: Plan) -> list[str]:
    if planned.fits:
        return []
    if planned.largest_micro_batch:
        return ["Lower batch.micro_batch_size, or omit it, and the largest that fits is chosen."]
    config = planned.config
    saving = {
        "trainer.precision=bf16-mixed": byte_widths(config.trainer.precision).matmul > 2,
        "model.activation_checkpointing=true": not config.model.activation_checkpointing,
        "a smaller batch.max_length": planned.memory.fixed < planned.usable,
        "strategy=fsdp with more trainer.devices": planned.devices.on_gpu,
        "a smaller model": True,
    }
    return ["Plan again with what saves memory: " + ", ".join(filter(saving.get, saving)) + "."]


def _time(planned: Plan) -> str:
    rate = f"{planned.tflops:,.1f} TFLOP/s a device"
    if planned.rate_is_assumed:
        precision = planned.config.trainer.precision
        rate += f" (assumed: {ASSUMED_UTILIZATION:.0%} of an H100's peak in {precision})"
    steps = ", then ".join(
        f"{phase.steps:,} steps of {phase.global_batch_size:,} sequences of up to "
        f"{phase.max_length} tokens"
        for phase in planned.phases
    )
    hours = planned.hours
    time = f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    return f"{steps}, {planned.tokens:.3g} real tokens in all: {time} at {rate}."


def _title(planned: Plan) -> str:
    config, count = planned.config, planned.devices.world_size
    model, longest = config.model, max(phase.max_length for phase in planned.phases)
    kind = "GPU" if planned.devices.on_gpu else "CPU process"
    devices = (
        f"{count} {kind}" if count == 1 else f"{count} {kind}{'es' if kind[0] == 'C' else 's'}"
    )
    return (
        f"{model.num_hidden_layers} layers, {model.hidden_size:,} hidden, {model.vocab_size:,} "
        f"tokens; length {longest}; {config.trainer.precision}; {devices}"
        + f", {config.strategy.name.value}"
        * (config.strategy.name is not StrategyName.auto)
    )


def _components(planned: Plan) -> Table:
    rows = []
    for label, (parameters, names) in _PARTS.items():
        flops = sum(getattr(planned.training_flops, name) for name in names)
        rows.append(
            [label, f"{getattr(planned.parameters, parameters):,}", _mega(flops) if names else ""]
        )
    if planned.recomputed_flops:
        rows.append(["recomputed by checkpointing", "", _mega(planned.recomputed_flops)])
    return figures(["", "parameters", "training MFLOPs a token"], rows)


def _memory(planned: Plan) -> Table:
    count, needs = planned.micro_batch_size, planned.memory
    sizes = {label: getattr(needs, name) for name, label in _FIXED.items()}
    sizes[f"activations of {count:,}"] = count * needs.sequence.saved
    sizes["working set"] = planned.peak - sum(sizes.values())
    sizes["peak"] = planned.peak
    rows = [[label, _gib(size)] for label, size in sizes.items() if size]
    return figures(["memory of a device", "GiB"], rows)


def _mega(flops: float) -> str:
    return f"{flops / 1e6:,.2f}"


def _gib(size: float) -> str:
    gib = size / GIB
    return f"{gib:,.0f}" if gib >= 100 else f"{gib:#.3g}"
