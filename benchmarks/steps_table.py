"""Shows the result of `benchmarks.steps` on the terminal and in Markdown."""

import statistics
from typing import Any

from rich.console import Console

from benchmarks.measure import Measured, Result
from bert_lightning.terminal import figures

_NOT_MEASURED = "not measured, as torch's profiler gives no times on this machine"


def show(result: Result) -> None:
    """Prints a row for each contestant; the others are compared with the first."""
    console = Console()
    rates = ", ".join(f"{rate:,} in {name}" for name, rate in result.matrix_gflops.items())
    console.print(
        f"{len(result.tokens)} steps of {result.pairs} pairs on {result.device}: "
        f"{sum(result.tokens) / len(result.tokens):,.0f} real tokens and "
        f"{sum(result.useful_gflop) / len(result.useful_gflop):,.0f} useful GFLOP each; "
        f"large matrix products: {rates} GFLOP/s",
        highlight=False,
    )
    header = ["", "pairs/s", "tokens/s", "step time", "matrix rate", "peak MiB", "loss"]
    console.print(figures(header, (_row(one, result.measured[0]) for one in result.measured)))
    first = result.measured[0]
    for title, fractions in ((first.name, first.parts), ("by operation", first.operations)):
        listed = ", ".join(f"{name} {fraction:.0%}" for name, fraction in fractions.items())
        console.print(f"{title}: {listed or _NOT_MEASURED}", highlight=False)


def _row(one: Measured, first: Measured) -> list[str]:
    return [
        one.name,
        f"{one.pairs_per_second:,.1f}",
        f"{one.tokens_per_second:,.0f}",
        f"{ratio(one, first):.1f}×",
        f"{one.fraction_of_matrix_rate:.0%}",
        f"{one.peak_memory_mib:,}",
        f"{one.losses[-1]:.3f}",
    ]


def ratio(one: Measured, first: Measured) -> float:
    """Returns the step time of one divided by that of the first: the median over the rounds."""
    rounds = zip(one.seconds, first.seconds, strict=True)
    return statistics.median(theirs / ours for theirs, ours in rounds)


def markdown(record: dict[str, Any], name: str) -> str:
    """Returns the table of a record that `benchmarks.steps` wrote as `benchmarks/{name}`."""
    measured = [Measured(**one) for one in record["measured"]]
    rows = ["| | pairs/s | real tokens/s | step time, relative | peak memory |"]
    rows.append("|---|--:|--:|--:|--:|")
    rows += [
        f"| {one.name} | {one.pairs_per_second:,.0f} | {one.tokens_per_second:,} "
        f"| {ratio(one, measured[0]):.1f} | {one.peak_memory_mib:,} MiB |"
        for one in measured
    ]
    about, rates = record["machine"], record["matrix_gflops"]
    where = about["gpu"] or f"{about['cores']} cores of an {about['processor']}"
    rows.append(
        f"\n({where}, torch {about['torch']}; medians of {len(measured[0].seconds)} steps each; "
        f"large matrix products there: {rates['bf16']:,} GFLOP/s in bf16, {rates['fp32']:,} in "
        f"fp32; [`benchmarks/{name}`](benchmarks/{name}))"
    )
    return "\n".join(rows)
