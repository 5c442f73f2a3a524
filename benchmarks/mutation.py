"""Runs the tests on deliberate faults in the core: `python -m benchmarks.mutation [MODULE ...]`.

A fault that no test notices is a survivor: either a test is missing, or the faulty code does the
same as the right one, which `mutation_equivalents.json` then says, with the reason. The result is
written to `mutation.json`.

Torch and the tests are imported once for a module. The tests run once without a fault, which tells
which of them call each function; then a fork for each fault runs those tests, the fastest first,
until one fails. In the fork the code of the live functions is replaced. A fault outside all
functions is imported afresh, in a fork of a process that has only imported the libraries.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from benchmarks.mutants import Mutant, mutants

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "mutation.json"
EQUIVALENTS = ROOT / "benchmarks" / "mutation_equivalents.json"
MODEL = ("tests/model", "tests/test_worked_examples.py")
DETERMINISM = "tests/training/test_determinism.py"
TESTS: dict[str, tuple[str, ...]] = {
    "model/attention": MODEL,
    "model/objective": (*MODEL, "tests/test_extensions.py"),
    "model/heads": (*MODEL, "tests/evaluation/test_scores.py"),
    "model/bert": (*MODEL, "tests/test_extensions.py", "tests/inference/test_represent.py"),
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
    "data/phases": ("tests/data/test_phases.py",),
    "training/stops": ("tests/training/test_guard.py", "tests/training/test_stops.py"),
    "training/module": (
        *("tests/training/test_guard.py", DETERMINISM, "tests/training/test_fit.py"),
        "tests/optim/test_ema.py",
    ),
    "pretrained/checkpoints": (
        *("tests/runs/test_checkpoint_io.py", "tests/runs/test_resume_point.py"),
        *("tests/pretrained", "tests/inference/test_loaded.py"),
    ),
    "runs/checkpoint_io": ("tests/runs/test_checkpoint_io.py", "tests/runs/test_resume_point.py"),
    "runs/resume": ("tests/runs/test_resume_point.py", "tests/runs/test_damage.py"),
    "optim/ema": ("tests/optim/test_ema.py",),
    "optim/optimizers": ("tests/optim/test_optimizers.py", "tests/test_extensions.py"),
    "optim/lamb": ("tests/optim/test_optimizers.py",),
    "optim/schedules": ("tests/optim/test_optimizers.py", "tests/optim/test_time_budget.py"),
    "evaluation/scores": ("tests/evaluation/test_scores.py",),
    "evaluation/evaluation": ("tests/evaluation/test_evaluation.py",),
    "evaluation/minimal_pairs": ("tests/evaluation/test_minimal_pairs.py",),
}
"""The modules of the core, under `bert_lightning`, and the fast tests that concern each."""
LIBRARIES = (
    *("pytest", "hypothesis", "torch", "lightning.pytorch", "datasets", "transformers", "hydra"),
    *("torch.distributed.fsdp", "tensorboard.backend.event_processing.event_accumulator"),
    *("matplotlib.pyplot", "rich", "safetensors.torch"),
)
OPTIONS = ("-q", "-x", "-n0", "-pno:cacheprovider", "-mnot slow")
SPARE_SECONDS = 2
ASLEEP_SECONDS = 300
SPARE_BYTES = 4 << 30
SURVIVED, KILLED, TIMED_OUT = 0, 1, 2


def forked(work: Callable[[], int], seconds: float = 7200.0) -> int:
    """Runs `work` in a fork; returns 0 if it returned 0, 2 if it took too long, and 1 otherwise."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        code = KILLED
        with contextlib.suppress(BaseException):
            code = work()
        os._exit(min(code, 1))
    deadline = time.monotonic() + seconds
    pause = 0.002
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what a test left behind
            code = os.waitstatus_to_exitcode(status)
            return TIMED_OUT if code == -signal.SIGXCPU else min(abs(code), KILLED)
        time.sleep(pause)
        pause = min(0.05, pause * 1.2)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return TIMED_OUT


def quiet() -> None:
    """Discards what this process writes, and ends it should it ask for much more memory."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def end_after(seconds: float) -> None:
    """Ends this process once it has computed for some more seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


class Imported:
    """Imports one module from another source, in a process that has not imported it."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        source = self.source

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return compile(source, self.path, "exec", dont_inherit=True)

        return importlib.util.spec_from_file_location(
            name, self.path, loader=Loader(name, str(self.path))
        )


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yields a code object and all within it, in the order of the source."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def own(code: CodeType) -> tuple[Any, ...]:
    """Returns what a code object does by itself, without what is nested in it."""
    constants = tuple(repr(c) for c in code.co_consts if not isinstance(c, CodeType))
    return code.co_code, constants, code.co_names, code.co_varnames


def functions(path: Path) -> dict[tuple[str, int], list[FunctionType]]:
    """Returns the live functions of a file by their qualified name and first line."""
    found = defaultdict(list)
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and thing.__code__.co_filename == str(path):
            found[thing.__code__.co_qualname, thing.__code__.co_firstlineno].append(thing)
    return found


class Session:
    """A pytest plugin: in place of running the tests once, runs them once and then on each mutant.

    Args:
        path: of the module.
        found: its mutants.
        report: called with each mutant's place in `found`, the outcome and the tests.
    """

    def __init__(
        self,
        path: Path,
        found: Sequence[Mutant],
        report: Callable[[int, int | None, list[str]], None],
    ) -> None:
        self.path, self.found, self.report = path, found, report
        self.callers: dict[tuple[str, int], set[str]] = defaultdict(set)
        """The tests that call each function."""
        self.seconds: dict[str, float] = {}

    def pytest_runtestloop(self, session: Any) -> bool:
        for item, then in zip(session.items, [*session.items[1:], session], strict=True):
            sys.setprofile(self._note(item.nodeid))
            begun = time.monotonic()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=then)
            sys.setprofile(None)
            self.seconds[item.nodeid] = time.monotonic() - begun
        if session.testsfailed:
            raise SystemExit("the tests fail without any fault")
        live = functions(self.path)
        original = list(nested(compile(self.path.read_text(), str(self.path), "exec")))
        for place, mutant in enumerate(self.found):
            changed = list(nested(compile(mutant.source, str(self.path), "exec")))
            self._try(session, place, original, changed, live)
        return True

    def _note(self, test: str) -> Callable[[FrameType, str, Any], None]:
        file, callers = str(self.path), self.callers

        def note(frame: FrameType, event: str, _: Any) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename == file:
                callers[code.co_qualname, code.co_firstlineno].add(test)

        return note

    def _try(
        self,
        session: Any,
        place: int,
        original: list[CodeType],
        changed: list[CodeType],
        live: dict[tuple[str, int], list[FunctionType]],
    ) -> None:
        if len(original) != len(changed) or own(original[0]) != own(changed[0]):
            return self.report(place, None, sorted(self.seconds, key=self.seconds.__getitem__))
        differ = [
            (code, new)
            for code, new in zip(original, changed, strict=True)
            if own(code) != own(new)
        ]
        # A change in a lambda within a function lies in the function's constants too.
        swaps = [
            (function, new)
            for code, new in zip(original, changed, strict=True)
            if any(inner in nested(code) for inner, _ in differ)
            for function in live.get((code.co_qualname, code.co_firstlineno), [])
        ]
        called = set().union(
            *(
                self.callers.get((code.co_qualname, code.co_firstlineno), set())
                for code, _ in differ
            )
        )
        tests = sorted(called, key=self.seconds.__getitem__)
        same_cells = all(f.__code__.co_freevars == new.co_freevars for f, new in swaps)
        if not swaps or not same_cells:
            return self.report(place, None, sorted(self.seconds, key=self.seconds.__getitem__))
        if not tests:
            return self.report(place, SURVIVED, tests)
        items = {item.nodeid: item for item in session.items}

        def work() -> int:
            quiet()
            for function, new in swaps:
                function.__code__ = new
            session.items[:] = [items[name] for name in tests]
            for item in session.items:
                end_after(SPARE_SECONDS + 10 * self.seconds[item.nodeid])
                item.ihook.pytest_runtest_protocol(item=item, nextitem=session)
                if session.testsfailed:
                    return KILLED
            return SURVIVED

        self.report(place, forked(work, ASLEEP_SECONDS), tests)
        return None


def run(module: str, only: set[str] | None) -> dict[int, list[str]]:
    """Runs a module's mutants, or those of some names; returns the names by outcome."""
    import pytest

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
            quiet_log()
            base = f"--basetemp={scratch}/fast"
            return int(
                pytest.main([*OPTIONS, base, *TESTS[module]], [Session(path, found, report)])
            )

        def quiet_log() -> None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)

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


def afresh(module: str, path: Path, mutant: Mutant, tests: list[str], scratch: str) -> int:
    """Imports a mutant and runs some tests."""
    import pytest

    quiet()
    end_after(60)
    name = "bert_lightning." + module.replace("/", ".")
    sys.meta_path.insert(0, Imported(name, path, mutant.source))
    return int(pytest.main([*OPTIONS, f"--basetemp={scratch}/fresh", *tests]))


def prepare_process() -> None:
    """Imports the libraries, and keeps what mutants do away from the user's caches."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mutation-cache-")
    os.chdir(ROOT)
    for name in LIBRARIES:
        importlib.import_module(name)
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutation", phases=phases, derandomize=True, database=None)
    settings.load_profile("mutation")


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
            found = combined(last, found, why)
        print(f"{module}: {found['mutants']} faults, {len(found['survivors'])} unnoticed,", end=" ")
        print(f"{len(found['equivalent'])} equivalent, in {seconds} s", flush=True)
        result["modules"][module] = found
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


def combined(last: dict[str, Any], again: dict[str, Any], why: dict[str, str]) -> dict[str, Any]:
    """Returns the result of a whole run, followed by one of its survivors alone."""
    return {
        "commit": last["commit"],
        "survivors_again_at": again["commit"],
        "mutants": last["mutants"],
        "killed": last["killed"] + again["killed"],
        "timed_out": last["timed_out"] + again["timed_out"],
        "equivalent": {name: why[name] for name in last["equivalent"]} | again["equivalent"],
        "survivors": again["survivors"],
    }


if __name__ == "__main__":
    main()
