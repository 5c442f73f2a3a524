"""A benchmark's result on the terminal."""

from rich.console import Console
from rich.table import Table

from bert_lightning.benchmark.measure import Measured, Result


def show(result: Result) -> None:
    """Prints a row for each contestant; the first one is what the others are compared with."""
    console = Console()
    rates = ", ".join(f"{rate:,} in {name}" for name, rate in result.matrix_gflops.items())
    console.print(
        f"{len(result.tokens)} steps of {result.pairs} pairs on {result.device}: "
        f"{sum(result.tokens) / len(result.tokens):,.0f} real tokens and "
        f"{sum(result.useful_gflop) / len(result.useful_gflop):,.0f} useful GFLOP each; "
        f"large matrix products: {rates} GFLOP/s",
        highlight=False,
    )
    table = Table()
    table.add_column("", no_wrap=True)
    for name in ("pairs/s", "tokens/s", "times as long", "of matrix rate", "peak MiB", "loss"):
        table.add_column(name, justify="right")
    for one in result.measured:
        table.add_row(*_row(one, result.measured[0]))
    console.print(table)
    parts = ", ".join(f"{name} {share:.0%}" for name, share in result.measured[0].parts.items())
    console.print(f"{result.measured[0].name}: {parts}", highlight=False)
    operations = ", ".join(f"{n} {share:.0%}" for n, share in result.measured[0].operations.items())
    console.print(f"by operation: {operations}", highlight=False)


def _row(one: Measured, first: Measured) -> list[str]:
    return [
        one.name,
        f"{one.pairs_per_second:,.1f}",
        f"{one.tokens_per_second:,.0f}",
        f"{ratio(one, first):.1f}",
        f"{one.share_of_matrix_rate:.0%}",
        f"{one.peak_memory_mib:,}",
        f"{one.losses[-1]:.3f}",
    ]


def ratio(one: Measured, first: Measured) -> float:
    """How often the first takes a step while the other takes one: the median of all rounds."""
    pairs = sorted(a / b for a, b in zip(one.seconds, first.seconds, strict=True))
    middle = len(pairs) // 2
    return pairs[middle] if len(pairs) % 2 else (pairs[middle - 1] + pairs[middle]) / 2
