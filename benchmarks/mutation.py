"""Runs the tests on deliberate faults in the core: `python -m benchmarks.mutation [MODULE ...]`.

A fault that no test notices is a survivor: either a test is missing, or the faulty code does the
same as the right one, which `mutation_equivalents.json` then says, with the reason. The result is
written to `mutation.json`.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutants import mutants
from benchmarks.mutation_forks import (
    KILLED,
    OPTIONS,
    SURVIVED,
    TIMED_OUT,
    Session,
    afresh,
    forked,
    prepare_process,
)

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "mutation.json"
EQUIVALENTS = ROOT / "benchmarks" / "mutation_equivalents.json"
MODEL = ("tests/model", "tests/test_worked_examples.py")
DETERMINISM = "tests/training/test_determinism.py"
FIT, EMA = "tests/training/test_fit.py", "tests/optim/test_ema.py"
TESTS: dict[str, tuple[str, ...]] = {
    "model/attention": MODEL,
    "model/objective": MODEL,
    "model/linear_cross_entropy": MODEL,
    "evaluation/label_scores": (
        "tests/evaluation/test_label_scores.py",
        "tests/evaluation/test_scores.py",
    ),
    "model/bert": (
        *MODEL,
        "tests/training/test_module.py",
        "tests/inference/test_represent.py",
    ),
    "model/positions": MODEL,
    "model/layers": (*MODEL, f"{DETERMINISM}::test_the_losses_are_those_that_were_committed"),
    "data/randomness": ("tests/data/test_randomness.py", "tests/data/test_batches.py"),
    "data/masking": (
        *("tests/data/test_masking.py", "tests/data/test_mask_units.py"),
        *("tests/test_worked_examples.py", "tests/data/test_batches.py"),
    ),
    "data/pairs": (
        *("tests/data/test_pairs.py", "tests/data/test_pair_kinds.py"),
        *("tests/test_worked_examples.py", "tests/data/test_batches.py"),
    ),
    "data/batches": (
        *("tests/data/test_batches.py", "tests/data/test_phases.py"),
        "tests/data/test_evaluation_set.py",
    ),
    "data/steps": ("tests/data/test_batches.py", "tests/data/test_phases.py"),
    "data/phases": ("tests/data/test_phases.py",),
    "training/stops": ("tests/training/test_guard.py", "tests/training/test_stops.py"),
    "training/module": (
        *("tests/training/test_module.py", DETERMINISM),
        f"{FIT}::test_the_validation_curve_is_the_loss_over_all_held_out_pairs",
        f"{FIT}::test_accumulation_and_workers_change_nothing",
        f"{EMA}::test_it_is_what_is_validated_tested_returned_and_read",
    ),
    "pretrained/checkpoints": (
        *("tests/runs/test_checkpoint_io.py", "tests/runs/test_resume_point.py"),
        *("tests/pretrained/test_checkpoints.py", "tests/inference/test_loaded.py"),
    ),
    "runs/checkpoint_io": ("tests/runs/test_checkpoint_io.py", "tests/runs/test_resume_point.py"),
    "runs/resume": ("tests/runs/test_resume_point.py",),
    "optim/ema": (EMA,),
    "optim/optimizers": (
        "tests/optim/test_optimizers.py",
        "tests/test_extensions.py::test_an_optimizer_of_your_own_gets_the_groups_with_and_without_decay",
    ),
    "optim/lamb": ("tests/optim/test_optimizers.py",),
    "optim/schedules": ("tests/optim/test_optimizers.py", "tests/optim/test_time_budget.py"),
    "evaluation/scores": ("tests/evaluation/test_scores.py",),
    "evaluation/evaluation": ("tests/evaluation/test_evaluation.py",),
    "evaluation/minimal_pairs": ("tests/evaluation/test_minimal_pairs.py",),
}
"""The modules of the core, under `bert_lightning`, and the fast tests that concern each."""


def run(module: str, only: set[str] | None) -> dict[int, list[str]]:
    """Runs a module's mutants, or those of some names; returns the names by outcome."""
    path = ROOT / "bert_lightning" / f"{module}.py"
    found = [m for m in mutants(path.read_text()) if only is None or m.name in only]
    with tempfile.TemporaryDirectory() as scratch:
        answers = Path(scratch) / "answers.jsonl"
        answers.touch()

        def report(place: int, outcome: int | None, tests: list[str]) -> None:
            with answers.open("a") as file:
                file.write(json.dumps([place, outcome, tests]) + "\n")
            print(place, outcome, len(tests), found[place].name, file=log, flush=True)

        def fast() -> int:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            arguments = [*OPTIONS, f"--basetemp={scratch}/fast", *TESTS[module]]
            return int(pytest.main(arguments, [Session(path, found, report)]))

        with os.fdopen(os.dup(1), "w") as log:
            if forked(fast) != 0:
                raise SystemExit(f"{module}: the tests fail without any fault")
            outcomes: dict[int, int] = {}
            for line in answers.read_text().splitlines():
                place, outcome, tests = json.loads(line)
                if outcome is None:
                    work = partial(afresh, module, path, found[place], tests, scratch)
                    outcome = forked(work)
                    shutil.rmtree(f"{scratch}/fresh", ignore_errors=True)
                    print("afresh", outcome, found[place].name, file=log, flush=True)
                outcomes[place] = outcome
    names: dict[int, list[str]] = {SURVIVED: [], KILLED: [], TIMED_OUT: []}
    for place, outcome in sorted(outcomes.items()):
        names[outcome].append(found[place].name)
    return names


def equivalents(module: str) -> dict[str, str]:
    """Returns the mutants of a module that do the same as its code, and why."""
    known = json.loads(EQUIVALENTS.read_text()).get(module, [])
    return {name: group["why"] for group in known for name in group["mutants"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("modules", nargs="*", choices=[*TESTS, []], help="default: all of the core")
    parser.add_argument("--survivors", action="store_true", help="run only the last survivors")
    arguments = parser.parse_args()
    prepare_process()
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {"modules": {}}
    for module in arguments.modules or TESTS:
        last = result["modules"].get(module) if arguments.survivors else None
        begun = time.monotonic()
        names = run(module, None if last is None else set(last["survivors"]))
        seconds, why = round(time.monotonic() - begun), equivalents(module)
        for name in names[SURVIVED]:
            print(f"  {'equivalent' if name in why else 'SURVIVED'}  {name}")
        found = summary(names, why)
        if last is not None:
            found = combined(last, found)
        print(f"{module}: {found['mutants']} faults, {len(found['survivors'])} unnoticed,", end=" ")
        print(f"{len(found['equivalent'])} equivalent, in {seconds} s", flush=True)
        result["modules"][module] = found
        result["not_run"] = [name for name in TESTS if name not in result["modules"]]
        result["mutmut"] = version("mutmut")
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def summary(names: dict[int, list[str]], why: dict[str, str]) -> dict[str, Any]:
    """Returns what the result file says of a module."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "commit": subprocess.check_output(command, cwd=ROOT, text=True).strip(),
        "mutants": sum(map(len, names.values())),
        "killed": len(names[KILLED]),
        "timed_out": len(names[TIMED_OUT]),
        "equivalent": {name: why[name] for name in names[SURVIVED] if name in why},
        "survivors": [name for name in names[SURVIVED] if name not in why],
    }


def combined(last: dict[str, Any], again: dict[str, Any]) -> dict[str, Any]:
    """Returns the result of a whole run, followed by one of its survivors alone."""
    found = {
        "commit": last["commit"],
        "survivors_again_at": again["commit"],
        "killed": last["killed"] + again["killed"],
        "timed_out": last["timed_out"] + again["timed_out"],
        "equivalent": last["equivalent"] | again["equivalent"],
        "survivors": again["survivors"],
    }
    unnoticed = len(found["equivalent"]) + len(found["survivors"])
    return {**found, "mutants": found["killed"] + found["timed_out"] + unnoticed}


if __name__ == "__main__":
    main()
