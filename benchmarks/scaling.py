"""Trains three sizes for five time budgets, and draws which size is best for a budget.

python -m benchmarks.scaling wikitext-2

Runs what is missing, one at a time, and writes `benchmarks/scaling/SIZE/SECONDSs/seed=N/` after
each run: a killed command loses only the run it was in. Each is `experiment=tiny_8min` with
another `model=` and another `optim.time_budget`; all sizes have the learning rates of the recipe.
After each run it draws `docs/pictures/scaling.png` from what there is; `--draw` draws only.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.recipe_results import ROOT
from benchmarks.run_recipe import measure
from bert_lightning.errors import UserError, exit_on_user_error
from bert_lightning.pictures.style import COLORS, GRAY, MARKERS, Picture, styled

KEPT = ROOT / "benchmarks" / "scaling"
PICTURE = ROOT / "docs" / "pictures" / "scaling.png"
RECIPE = "tiny_8min"
SIZES = ("tiny", "mini", "small")
MINUTES = (8, 2, 32, 4, 16)
"""In the order in which they are run: the middle and both ends say most about where lines cross."""
Losses = dict[str, dict[float, float]]
"""By size and by the seconds of the budget: the mean loss of the seeds, in nats."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", type=Path, help="the folder with wiki.train.tokens")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="MODEL", help="of conf/model")
    parser.add_argument("--minutes", nargs="+", type=float, default=MINUTES, help="the budgets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=KEPT, help="where the results are kept")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--draw", action="store_true", help="run nothing, draw what there is")
    args = parser.parse_args(argv)
    wanted = [(size, round(60 * minutes)) for minutes in args.minutes for size in args.sizes]
    folders = {one: args.kept / one[0] / f"{one[1]}s" / f"seed={args.seed}" for one in wanted}
    missing = [one for one, folder in folders.items() if not folder.exists()]
    for number, (size, seconds) in enumerate([] if args.draw else missing):
        left = sum(seconds for _, seconds in missing[number:]) / 60
        print(f"{size}, {seconds} s; {len(missing) - number} runs of {left:.0f} minutes are left")
        options = [f"data.path={args.text}", f"model={size}", f"optim.time_budget={seconds}s"]
        measure(RECIPE, options, args.seed, folders[size, seconds])
        scaling_figure(losses(args.kept)).save(args.picture)
    found = losses(args.kept)
    scaling_figure(found).save(args.picture)
    print("\n".join(shown(found)))
    print(f"saved {args.picture}")


def losses(kept: Path) -> Losses:
    """Reads the results, the smallest size and the shortest budget first.

    Raises:
        UserError: there are none.
    """
    found: Losses = {}
    for place in {file.parents[1] for file in kept.glob("*/*s/seed=*/result.json")}:
        seeds = [json.loads(file.read_text("utf-8")) for file in place.glob("seed=*/result.json")]
        loss = mean(result["validation"]["mlm"]["all"]["loss"] for result in seeds)
        found.setdefault(place.parent.name, {})[float(place.name.removesuffix("s"))] = loss
    if not found:
        raise UserError(f"{kept} has no results yet: omit --draw")
    sizes = sorted(found, key=lambda size: (*SIZES, size).index(size))
    return {size: dict(sorted(found[size].items())) for size in sizes}


def best_sizes(found: Losses) -> dict[float, str]:
    """Returns the size with the lowest loss for each budget, the shortest first."""
    budgets = sorted({seconds for points in found.values() for seconds in points})
    return {
        seconds: min(
            (size for size, points in found.items() if seconds in points),
            key=lambda size: found[size][seconds],
        )
        for seconds in budgets
    }


def shown(found: Losses) -> Iterator[str]:
    """Yields a line for each budget: its best size, and the sizes that have no result."""
    for seconds, best in best_sizes(found).items():
        missing = [size for size, points in found.items() if seconds not in points]
        note = f"; no result of {', '.join(missing)}" if missing else ""
        yield f"{seconds / 60:g} minutes: {best}, {found[best][seconds]:.3f} nats{note}"


@styled
def scaling_figure(found: Losses) -> Picture:
    """Draws the loss of each size against the time budget.

    It marks the best of each budget that all sizes have a result for.
    """
    figure = Picture(6.4, 4)
    axes = figure.subplots()
    for (size, points), color, marker in zip(found.items(), COLORS, MARKERS, strict=False):
        minutes = [seconds / 60 for seconds in points]
        axes.plot(minutes, [*points.values()], f"{marker}-", color=color, label=size)
    best = best_sizes(found)
    complete = [at for at in best if all(at in points for points in found.values())]
    axes.scatter(
        [seconds / 60 for seconds in complete],
        [found[best[seconds]][seconds] for seconds in complete],
        s=120,
        facecolors="none",
        edgecolors=GRAY,
        label="best of the budget",
    )
    ticks = [seconds / 60 for seconds in best]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(
        title="WikiText-2: the best size for a time budget",
        xlabel="minutes of training on two CPU cores",
        ylabel="validation MLM loss, nats",
    )
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
