"""The steps of `benchmarks/gpu.json` as the table of `docs/performance.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.gpu_batches import ROWS

_WAYS = {
    (False, True): "as it is",
    (True, True): "`model.compile=true`",
    (False, False): "without Triton's kernels",
    (True, False): "`model.compile=true`, without Triton's kernels",
}
"""By whether a model is compiled, and whether its kernels run."""


def gpu_table(found: Mapping[str, Any]) -> str:
    """Returns Markdown: a row for each way to take the steps of a model, in the order of parts."""
    rows = [
        "| model and step | | pairs/s | tokens/s | fraction of the rate of large products "
        "| peak memory, GiB |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in ROWS:
        for one in _measured(found, row):
            name = _WAYS[one["compiled"], one["kernels"]]
            if not one["contestant"].startswith("bert-lightning"):
                name = one["contestant"]
            rows.append(
                f"| {_size(row)} | {name} | {one['pairs_per_second']:,.0f} "
                f"| {one['tokens_per_second']:,.0f} | {one['fraction_of_matrix_rate']:.2f} "
                f"| {one['peak_memory_gib']:.1f} |"
            )
    about, rate = found["rates"]["machine"], found["rates"]["results"][0]["tflops"]
    return "\n".join(
        [
            *rows,
            "",
            f"({about['gpu']}, torch {about['torch']}, bf16; means of 20 steps each; large matrix "
            f"products there: {rate:,.0f} TFLOP/s; [`benchmarks/gpu.json`](benchmarks/gpu.json))",
        ]
    )


def _measured(found: Mapping[str, Any], row: str) -> Iterator[dict[str, Any]]:
    for part in (f"steps-{row}", f"hf-{row}"):
        results = found.get(part, {"results": []})["results"]
        yield from (one for one in results if "failed" not in one)


def _size(row: str) -> str:
    model = ROWS[row].options[0].removeprefix("model=").capitalize()
    if not ROWS[row].full:
        return f"BERT-{model}, {ROWS[row].pairs} pairs of WikiText-2"
    return f"BERT-{model}, {ROWS[row].pairs} × {ROWS[row].length} tokens"
