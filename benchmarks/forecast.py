"""Forecasts the speed of BERT-Base on up to 1,024 GPUs; nothing of it was measured but one GPU.

python -m benchmarks.forecast

Writes `benchmarks/forecast.json`, and fills the tables between the markers `balance` and `forecast`
of `docs/distributed.md`. The inputs are the step of one GPU (`steps-gpu.json`), the tokens of the
slowest rank (`balance.json`), and what is assumed of the network below.

    step(n) = fixed + seconds a token · tokens of the slowest rank + exposed all-reduce(n)
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.balance import PAIRS_A_RANK, RANKS
from benchmarks.balance import RESULTS as BALANCE

HERE = Path(__file__).parent
RESULTS = HERE / "forecast.json"
PAGE = HERE.parent / "docs" / "distributed.md"
ASSUMED = {
    "gpus_of_a_node": 8,
    "bytes_a_second_within_a_node": 350e9,
    "bytes_a_second_of_a_gpu_between_nodes": 40e9,
    "seconds_a_hop": 15e-6,
    "parameters": 110e6,
    "parameters_of_the_word_embedding": 30_522 * 768,
    "bytes_of_a_gradient": 4,
    "bytes_of_a_bucket": 25e6,
}
"""A network as of DGX nodes with one 400 Gbit/s card a GPU, four fifths of it used; gradients are
summed in fp32, in DDP's buckets."""


def main(argv: Sequence[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args(argv)
    record = {"forecast": True, "assumed": ASSUMED, "step_of_one_gpu": one_gpu(), "rows": rows()}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def one_gpu() -> dict[str, float]:
    """Returns the linear model of a step: the optimizer is its fixed part, all else its tokens'."""
    record = json.loads((HERE / "steps-gpu.json").read_text(encoding="utf-8"))
    measured = next(one for one in record["measured"] if one["name"] == "bert-lightning, bf16")
    seconds, tokens = np.mean(measured["seconds"]), np.mean(record["tokens"])
    fixed = seconds * measured["parts"]["optimizer"]
    return {
        "fixed_seconds": round(float(fixed), 6),
        "seconds_a_token": float(f"{(seconds - fixed) / tokens:.4g}"),
        "backward": measured["parts"]["backward"],
        "tokens_a_pair": round(float(tokens / record["pairs"]), 2),
    }


def rows() -> list[dict[str, Any]]:
    """Returns the forecast for each number of GPUs and pairs a GPU, in order and dealt out."""
    balance = json.loads(BALANCE.read_text(encoding="utf-8"))["slowest_over_mean"]
    slowest = {
        (row["pairs_a_rank"], row["ranks"]): row for row in balance if row["pairs"] == "sentence"
    }
    found = []
    for pairs in PAIRS_A_RANK:
        alone = step_seconds(pairs, 1, 1.0)
        for gpus in (1, *RANKS):
            even = {"in_order": 1.0, "dealt": 1.0}
            ratios = slowest[pairs, gpus] if gpus > 1 else even
            steps = {name: step_seconds(pairs, gpus, ratios[name]) for name in even}
            tokens = pairs * gpus * one_gpu()["tokens_a_pair"]
            found.append(
                {
                    "pairs_a_gpu": pairs,
                    "gpus": gpus,
                    "step_ms": round(1e3 * steps["dealt"], 2),
                    "tokens_per_second": float(f"{tokens / steps['dealt']:.3g}"),
                    "efficiency": round(alone / steps["dealt"], 4),
                    "efficiency_in_order": round(alone / steps["in_order"], 4),
                }
            )
    return found


def step_seconds(pairs: int, gpus: int, slowest: float) -> float:
    """Returns the forecast seconds of a step whose slowest rank has so many times the mean."""
    step = one_gpu()
    tokens = pairs * step["tokens_a_pair"] * slowest
    computing = step["fixed_seconds"] + step["seconds_a_token"] * tokens
    return computing + exposed(gpus, step["backward"] * computing)


def exposed(gpus: int, backward: float) -> float:
    """Returns the seconds of the all-reduce that no computing hides.

    The word embedding is the last whose gradient is complete, as the MLM head uses it too, so its
    all-reduce follows the backward pass; the others' runs beside it.
    """
    embedding = ASSUMED["parameters_of_the_word_embedding"] * ASSUMED["bytes_of_a_gradient"]
    others = ASSUMED["parameters"] * ASSUMED["bytes_of_a_gradient"] - embedding
    return all_reduce(embedding, gpus) + max(0.0, all_reduce(others, gpus) - backward)


def all_reduce(size: float, gpus: int) -> float:
    """Returns the seconds of an all-reduce: within the nodes, then between them, and its hops."""
    local = min(gpus, int(ASSUMED["gpus_of_a_node"]))
    nodes = gpus // local
    within = 2 * (local - 1) / local * size / ASSUMED["bytes_a_second_within_a_node"]
    speed = local * ASSUMED["bytes_a_second_of_a_gpu_between_nodes"]
    between = 2 * (nodes - 1) / nodes * size / speed
    hops = 2 * math.log2(gpus) * math.ceil(size / ASSUMED["bytes_of_a_bucket"])
    return within + between + hops * ASSUMED["seconds_a_hop"]


def filled(page: str) -> str:
    """Returns a page with the tables between their markers."""
    for name, table in {"balance": balance_table(), "forecast": forecast_table()}.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, found, rest = page.partition(begin)
        assert found, f"{PAGE} has no marker {begin}"
        page = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return page


def balance_table() -> str:
    """Returns Markdown: what the slowest rank has beyond the mean, before and after."""
    balance = json.loads(BALANCE.read_text(encoding="utf-8"))["slowest_over_mean"]
    header = ["ranks"] + [
        f"`pairs={kind}`, {pairs} a rank"
        for kind in ("sentence", "segment")
        for pairs in PAIRS_A_RANK
    ]
    lines = []
    for ranks in RANKS:
        cells = [
            f"+{row['in_order'] - 1:.1%} → +{row['dealt'] - 1:.2%}"
            for row in balance
            if row["ranks"] == ranks
        ]
        lines.append([f"{ranks:,}", *cells])
    return markdown(header, lines)


def forecast_table() -> str:
    """Returns Markdown: a row for each number of GPUs."""
    header = ["GPUs"]
    for pairs in PAIRS_A_RANK:
        header += [f"tokens/s, {pairs} pairs a GPU", "efficiency", "without dealing"]
    by_gpus: dict[int, list[str]] = {}
    for row in rows():
        by_gpus.setdefault(row["gpus"], []).extend(
            [
                f"{row['tokens_per_second']:,.0f}",
                f"{row['efficiency']:.1%}",
                f"{row['efficiency_in_order']:.1%}",
            ]
        )
    return markdown(header, [[f"{gpus:,}", *cells] for gpus, cells in by_gpus.items()])


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["--:"] * len(header)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


if __name__ == "__main__":
    main()
