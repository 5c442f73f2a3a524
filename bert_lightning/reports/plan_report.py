"""The plan of a run on the terminal: whether it fits, what it costs, how long it takes."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bert_lightning.config import StrategyName, TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.preparation.forecast import forecast
from bert_lightning.errors import UserError
from bert_lightning.pretrained.initial_weights import open_initial
from bert_lightning.reports.preparation_report import forecast_sentence
from bert_lightning.sizing.machine import (
    FRACTION_REACHED,
    LocalRun,
    filled_in,
    on_this_machine,
)
from bert_lightning.sizing.memory import USABLE, byte_widths
from bert_lightning.sizing.plan import ASSUMED_UTILIZATION, GIB, Plan, PlanOptions, plan
from bert_lightning.terminal import figures


def show_plan(config: TrainConfig, options: PlanOptions, as_json: bool) -> None:
    """Prints the plan of a run, for people or as JSON; see :func:`plan`."""
    filled = filled_in(config, options)
    planned, local = plan(config, filled), None
    sentences = verdict(planned)
    if filled != options:
        sentences.append(
            "Of this machine are the memory and the rate that no option states; the rate is "
            f"{FRACTION_REACHED:.0%} of that of its matrix products, as just measured."
        )
    elif options.memory is options.tflops is None and planned.devices.world_size == 1:
        local = on_this_machine(config, planned)
        sentences.append(_here(local))
    sentences += _preparation(config)
    if as_json:
        values = to_plain(asdict(planned))
        for name in ("parameters", "training_flops"):
            parts = getattr(planned, name)
            values[name] = {**parts._asdict(), "total": parts.total}
        values["memory"]["fixed"] = planned.memory.fixed
        values["here"] = None if local is None else asdict(local)
        print(json.dumps({**values, "verdict": sentences}, indent=2))
        return
    console = Console(highlight=False, markup=False)
    console.print(_title(planned), style="bold")
    console.print(*sentences, "", _components(planned), "", _memory(planned), sep="\n")


def verdict(planned: Plan) -> list[str]:
    """Returns the sentences that say whether the run fits, why, and how long it takes."""
    phases, largest, sentences = planned.phases, planned.largest, list[str]()
    if len(phases) > 1:
        sentences.append(
            f"Phase {phases.index(largest) + 1} of {len(phases)} needs most memory, with "
            f"{largest.global_batch_size:,} sequences of up to {largest.max_length} tokens a step."
        )
    return [*sentences, _fit(planned), *_way_out(planned), _time(planned)]


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
    return (
        f"{steps}, {planned.tokens:.3g} real tokens in all: {_duration(planned.hours)} at {rate}."
    )


def _here(local: LocalRun) -> str:
    return (
        f"On this machine ({local.device}): {_duration(local.hours)}, if training reaches "
        f"{FRACTION_REACHED:.0%} of the {local.matrix_tflops:.2g} TFLOP/s that its matrix products "
        f"reach in {local.precision}, as just measured; --tflops RATE states the rate of another."
    )


def _preparation(config: TrainConfig) -> list[str]:
    """Says what preparing the text takes, where it is in files of this machine."""
    if config.data.path is None:
        return []
    try:
        initial = open_initial(config)
        base = initial.tokenizer if initial else None
        found = forecast(config.data, config.tokenizer, config.batch.pairs, base)
    except UserError as error:
        return [f"What preparing the text takes is not known: {error}."]
    return [] if found is None else [forecast_sentence(found)]


def _duration(hours: float) -> str:
    for unit, count in (("hours", hours), ("minutes", 60 * hours)):
        if count >= 1:
            return f"{count:,.1f} {unit}"
    return f"{3600 * hours:.1f} seconds"


def _title(planned: Plan) -> str:
    config, count = planned.config, planned.devices.world_size
    model, longest = config.model, max(phase.max_length for phase in planned.phases)
    kind, plural = ("GPU", "s") if planned.devices.on_gpu else ("CPU process", "es")
    devices, strategy = f"{count} {kind}{plural * (count > 1)}", config.strategy.name
    return (
        f"{model.num_hidden_layers} layers, {model.hidden_size:,} hidden, {model.vocab_size:,} "
        f"tokens; length {longest}; {config.trainer.precision}; {devices}"
        + ("" if strategy is StrategyName.auto else f", {strategy.value}")
    )


def _components(planned: Plan) -> Table:
    parameters, flops = planned.parameters, planned.training_flops
    rows = [
        ("embeddings", parameters.embeddings, 0.0),
        ("attention", parameters.attention, flops.attention_projections + flops.attention_scores),
        ("feed-forward", parameters.feed_forward, flops.feed_forward),
        ("norms", parameters.norms, 0.0),
        ("MLM head", parameters.mlm_head, flops.mlm_head),
        ("pooler", parameters.pooler, flops.pooler),
        ("NSP head", parameters.nsp_head, flops.nsp_head),
        ("total", parameters.total, flops.total),
        ("recomputed by checkpointing", 0, planned.recomputed_flops),
    ]
    shown = [
        [label, f"{count:,}" if count else "", f"{work / 1e6:,.2f}" if work else ""]
        for label, count, work in rows
        if count or work
    ]
    return figures(["", "parameters", "training MFLOPs a token"], shown)


def _memory(planned: Plan) -> Table:
    count, needs = planned.micro_batch_size, planned.memory
    sizes = {
        "weights": needs.weights,
        "gradients": needs.gradients,
        "optimizer state": needs.optimizer_state,
        "weights, cast or gathered": needs.weight_copies,
        "EMA of the weights": needs.ema,
        f"activations of {count:,}": count * needs.sequence.saved,
    }
    sizes |= {"working set": planned.peak - sum(sizes.values()), "peak": planned.peak}
    rows = [[label, _gib(size)] for label, size in sizes.items() if size]
    return figures(["memory of a device", "GiB"], rows)


def _gib(size: float) -> str:
    gib = size / GIB
    return f"{gib:,.0f}" if gib >= 100 else f"{gib:#.3g}"
