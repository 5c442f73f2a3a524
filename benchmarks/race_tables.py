"""The tables of the race: its records, and what each variant of a recipe is worth.

`benchmarks.update_readme` copies them into `docs/race.md` and `docs/recipes.md`.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import mean

from benchmarks.recipe_results import Entry, comparable, differences
from benchmarks.referee import judged

SEEDS, CERTAIN = 2, 0.05
"""A record by less than 0.05 nats needs two seeds."""


def records(found: Iterable[Entry]) -> list[Entry]:
    """Returns the entries that keep all rules and were the best of their time, the first first."""
    best: list[Entry] = []
    for entry in sorted(
        (one for one in found if _enters(one)), key=lambda one: (_date(one), -one.loss)
    ):
        gain = best[-1].loss - entry.loss if best else CERTAIN
        if gain >= CERTAIN or (gain > 0 and len(entry.results) >= SEEDS):
            best.append(entry)
    return best


def _enters(entry: Entry) -> bool:
    files = sorted(entry.folder.glob("seed=*/config.json"))
    configs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return all(
        rule.kept
        for result, config in zip(entry.results, configs, strict=True)
        for rule in judged(result, config)
    )


def _date(entry: Entry) -> str:
    return min(result["date"] for result in entry.results)


def records_table(found: Sequence[Entry]) -> str:
    """Returns Markdown: a row for each record, and what it changed of the one before."""
    best = records(found)
    changed = [
        "the first",
        *(_code(differences(*pair)) or "the machine" for pair in pairwise(best)),
    ]
    rows = [
        [
            *(_date(entry), entry.recipe),
            f"[`{entry.variant or 'as it is'}`]({entry.place})",
            *_figures(entry),
            change,
        ]
        for entry, change in zip(best, changed, strict=True)
    ]
    return _table(["date", "recipe", "variant", *_FIGURES, "what changed"], rows)


def variants_table(found: Sequence[Entry], recipe: str) -> str:
    """Returns Markdown: a table for each length of runs, of the recipe and of its variants.

    A row says by which options it differs from the recipe as it is, and by how many nats its loss
    differs from that of a run of the same length that does not; the lowest loss comes first.
    """
    own = [one for one in found if one.recipe == recipe]
    base = next((one for one in own if one.variant is None), None)
    if base is None:
        return f"There is no result of `{recipe}` as it is yet."
    alike = [one for one in own if comparable(one)]
    parts = []
    for end in dict.fromkeys(one.end for one in alike):
        group = sorted((one for one in alike if one.end == end), key=lambda one: one.loss)
        if group == [base]:
            continue
        plain = next((one for one in group if not differences(base, one)), None)
        rows = [
            [
                _code(differences(base, one)) or "as it is",
                f"[{one.variant or recipe}]({one.place})",
                f"{one.loss - plain.loss:+.3f}" if plain and one != plain else "",
                *_figures(one),
            ]
            for one in group
        ]
        table = _table(["options", "results", "gain", *_FIGURES], rows)
        parts.append(f"`{recipe}`, {end}:\n\n{table}")
    others = [f"`{one.variant}`" for one in own if not comparable(one)]
    if others:
        parts.append(f"Not here, as another vocabulary has other losses: {', '.join(others)}.")
    return "\n\n".join(parts) or f"`{recipe}` has no variants yet."


def all_variants_table(found: Sequence[Entry]) -> str:
    """Returns the tables of all recipes that have variants."""
    recipes = dict.fromkeys(one.recipe for one in found if one.variant is not None)
    return "\n\n".join(variants_table(found, name) for name in recipes) or "There are none yet."


_FIGURES = ("seeds", "MLM, nats", "NSP accuracy", "training, s")


def _figures(entry: Entry) -> list[str]:
    scores = [result["validation"] for result in entry.results]
    return [
        f"{len(scores)}",
        _range([score["mlm"]["all"]["loss"] for score in scores], ".3f"),
        _range([score["nsp"]["accuracy"] for score in scores], ".3f"),
        _range([result["training_seconds"] for result in entry.results], ".0f"),
    ]


def _code(options: Sequence[str]) -> str:
    return f"`{' '.join(options)}`" if options else ""


def _range(values: Sequence[float], form: str) -> str:
    middle, low, high = (format(of(values), form) for of in (mean, min, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
