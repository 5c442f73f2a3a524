"""The rules of the race, and the command that runs a recipe and judges it by them.

`docs/race.md` says what the race is.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.recipe_results import EVALUATION_SETS, RECIPES, ROOT, WIKITEXT
from benchmarks.run_recipe import TEACHER, measure, shown
from bert_lightning.errors import UserError, exit_on_user_error

SECONDS = 465
"""450 s, and what a time budget may exceed them by."""
CORES = 2
PARAMETERS = 3_000_000
"""The tiny model has 2,977,570, and 2,975,138 with `arch=modern`."""


class Rule(NamedTuple):
    """A rule of the race, and what a result says of it."""

    name: str
    kept: bool
    found: str


def judged(result: Mapping[str, Any], config: Mapping[str, Any]) -> list[Rule]:
    """Judges a result (`result.json`) and its config (`config.json`) by each rule."""
    about, text, source = result["machine"], result["validation"]["corpus"], config["init_from"]
    teachers, parameters = result.get("teachers", []), result["parameters"]
    seconds = result["training_seconds"] + sum(one["training_seconds"] for one in teachers)
    loss = result["validation"]["mlm"]["all"]["loss"]
    others = [
        split
        for split, known in EVALUATION_SETS.items()
        if known != result[split]["evaluation_set_sha256"]
    ]
    cores = f"{about['cores']} cores, {about['gpu'] or 'no GPU'}; {CORES} cores at most, no GPU"
    spent = f"{seconds:,.0f} s of training" + (", teachers included" if teachers else "")
    texts = [text, *(one["corpus"] for one in teachers)]
    read = ", ".join(sorted({*texts})) + (f", and what {source} has read" if source else "")
    scored = f"MLM loss {loss:.3f}" if not others else f"another {' and '.join(others)} set"
    return [
        Rule("time", seconds <= SECONDS, f"{spent}, {SECONDS} s at most"),
        Rule("cores", about["cores"] <= CORES and about["gpu"] is None, cores),
        Rule(
            "size", parameters <= PARAMETERS, f"{parameters:,} parameters, {PARAMETERS:,} at most"
        ),
        Rule("text", {*texts} <= {*WIKITEXT} and source is None, read),
        Rule("evaluation", not others, scored),
    ]


def place_of(recipe: str, variant: str | None, options: Sequence[str], seed: int) -> Path:
    """Returns the folder of a result: `NAME/seed=N` of a recipe, `NAME/VARIANT/seed=N` of others.

    Raises:
        UserError: options that differ have no name, a name has no option that differs, or its
            other seeds have other options.
    """
    if not (ROOT / "conf" / "experiment" / f"{recipe}.yaml").exists():
        names = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
        raise UserError(f"no recipe {recipe}: choose from {', '.join(names)}")
    differing = [option for option in options if not option.startswith("data.")]
    if variant is None:
        if differing:
            raise UserError(
                f"{' '.join(differing)} differs from the recipe {recipe}: --variant NAME names it"
            )
        return RECIPES / recipe / f"seed={seed}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", variant):
        raise UserError(
            f"--variant {variant} must be of lower-case letters, digits and _, as it names a folder"
        )
    if not differing:
        raise UserError(f"--variant {variant} needs an option that differs from {recipe}")
    for other in sorted((RECIPES / recipe / variant).glob("seed=*/result.json")):
        found = json.loads(other.read_text(encoding="utf-8"))["options"]
        if sorted(found) != sorted(differing):
            raise UserError(
                f"{shown(other.parent)} is of {' '.join(found)}, not of {' '.join(differing)}: "
                "all seeds of a variant have the same options; name another --variant"
            )
    return RECIPES / recipe / variant / f"seed={seed}"


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Trains a recipe or a variant of it, evaluates it, and judges it by the rules "
        "of the race. Keeps config, log and result.json in benchmarks/recipes."
    )
    parser.add_argument("recipe", help="a file of conf/experiment")
    parser.add_argument(
        "options", nargs="*", help="data.path=FOLDER, and what differs in a variant"
    )
    parser.add_argument("--variant", metavar="NAME", help="names the options that differ")
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="a finished run to learn from, as objective.teachers says; may be given repeatedly",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--run", type=Path, help="keeps the run in this folder; one that has finished is evaluated"
    )
    args = parser.parse_intermixed_args(argv)
    options = args.options
    if any(option.startswith("objective.teachers") for option in options):
        raise UserError("objective.teachers: name each with --teacher RUN, as its time counts too")
    if args.teacher:
        named = ",".join(TEACHER.format(number) for number in range(len(args.teacher)))
        options = [*options, f"objective.teachers=[{named}]"]
    keep = place_of(args.recipe, args.variant, options, args.seed)
    result = measure(args.recipe, options, args.seed, keep, args.run, args.teacher)
    config = json.loads((keep / "config.json").read_text(encoding="utf-8"))
    rules = judged(result, config)
    for rule in rules:
        print(f"{'ok' if rule.kept else 'BROKEN':<10}  {rule.name}: {rule.found}")
    broken = [rule.name for rule in rules if not rule.kept]
    verdict = f"no entry: {', '.join(broken)}" if broken else "an entry"
    print(f"race        {verdict}; docs/race.md has the rules")
