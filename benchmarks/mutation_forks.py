"""Runs of the tests on mutants: torch and the tests are imported once, and each mutant is a fork.

The tests run once on the code as it is, which tells which of them call each function. Then, for
each mutant, a fork replaces the code of the live functions and runs those tests, the fastest first,
until one fails. Where constants of the module differ, the fork replaces those. Other mutants, and
constants that no test notices so, are imported afresh, in a fork of a process that has only
imported the libraries.
"""

import contextlib
import gc
import importlib.util
import math
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from benchmarks.mutants import Mutant

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    *("pytest", "hypothesis", "torch", "lightning.pytorch", "datasets", "transformers", "hydra"),
    *("torch.distributed.fsdp", "tensorboard.backend.event_processing.event_accumulator"),
    *("matplotlib.pyplot", "rich", "safetensors.torch"),
)
OPTIONS = ("-q", "-x", "-n0", "-pno:cacheprovider", "-mnot slow")
SPARE_SECONDS = 2
ASLEEP_SECONDS = 900
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
        self.forking: set[str] = set()
        """The tests that fork, whose processes may call any function."""
        self.test, self.file = "", str(path)
        self.seconds: dict[str, float] = {}

    def pytest_runtestloop(self, session: Any) -> bool:
        os.register_at_fork(before=lambda: self.forking.add(self.test))
        for item, then in zip(session.items, [*session.items[1:], session], strict=True):
            self.test = item.nodeid
            threading.setprofile(self._note)
            sys.setprofile(self._note)
            begun = time.monotonic()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=then)
            sys.setprofile(None)
            threading.setprofile(None)
            self.seconds[item.nodeid] = time.monotonic() - begun
        if session.testsfailed:
            raise SystemExit("the tests fail without any fault")
        self.test = ""
        live = functions(self.path)
        original = list(nested(compile(self.path.read_text(), str(self.path), "exec")))
        for place, mutant in enumerate(self.found):
            changed = list(nested(compile(mutant.source, str(self.path), "exec")))
            self._try(session, place, original, changed, live)
        return True

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename == self.file:
            self.callers[code.co_qualname, code.co_firstlineno].add(self.test)

    def _try(
        self,
        session: Any,
        place: int,
        original: list[CodeType],
        changed: list[CodeType],
        live: dict[tuple[str, int], list[FunctionType]],
    ) -> None:
        slowest_last = sorted(self.seconds, key=self.seconds.__getitem__)
        if len(original) != len(changed) or list(map(own, original)) == list(map(own, changed)):
            return self.report(place, None, slowest_last)
        pairs = list(zip(original, changed, strict=True))
        differ = [(code, new) for code, new in pairs if own(code) != own(new)]
        if differ[0][0] is original[0]:
            constants = partial(replace_constants, self.path, changed[0])
            outcome = self._fork(session, constants, slowest_last)
            # Where it survives, the old value may live on in what was made of it at import.
            return self.report(place, outcome or None, slowest_last)
        # A change in a lambda within a function lies in the function's constants too.
        swaps = [
            (function, new)
            for code, new in pairs
            if any(inner in nested(code) for inner, _ in differ)
            for function in live.get((code.co_qualname, code.co_firstlineno), [])
        ]
        if not swaps or any(f.__code__.co_freevars != new.co_freevars for f, new in swaps):
            return self.report(place, None, slowest_last)
        calls = [self.callers[code.co_qualname, code.co_firstlineno] for code, _ in differ]
        called = self.forking.union(*calls)
        tests = [test for test in slowest_last if test in called]
        outcome = self._fork(session, partial(replace_code, swaps), tests) if tests else SURVIVED
        return self.report(place, outcome, tests)

    def _fork(self, session: Any, change: Callable[[], None], tests: list[str]) -> int:
        items = {item.nodeid: item for item in session.items}

        def work() -> int:
            quiet()
            change()
            for test in tests:
                end_after(SPARE_SECONDS + 10 * self.seconds[test])
                items[test].ihook.pytest_runtest_protocol(item=items[test], nextitem=session)
                if session.testsfailed:
                    return KILLED
            return SURVIVED

        return forked(work, ASLEEP_SECONDS)


def replace_code(swaps: list[tuple[FunctionType, CodeType]]) -> None:
    """Has functions do what other code does."""
    for function, code in swaps:
        function.__code__ = code


def replace_constants(path: Path, code: CodeType) -> None:
    """Gives the constants of a module, wherever they were imported to, the values of other code."""
    (name,) = [n for n, m in sys.modules.items() if getattr(m, "__file__", None) == str(path)]
    before = vars(sys.modules[name])
    after: dict[str, Any] = {"__name__": name, "__file__": str(path)}
    exec(code, after)
    for constant, value in before.items():
        if constant.startswith("__") or callable(value) or repr(value) == repr(after[constant]):
            continue
        for module in list(sys.modules.values()):
            if getattr(module, constant, None) is value:
                setattr(module, constant, after[constant])


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
