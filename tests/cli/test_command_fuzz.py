"""Plausible command lines, made from the options themselves: each value is taken, or refused well.

Every option gets a value that fits, one at the edge, one of another type and one out of its range.
A command line may end in two ways: the run has the very value that was given, or one message on
standard error says what to change. No traceback, no hang, and no value that is ignored. A new
option takes part by being declared. FUZZ_SEED=N draws others; a failure prints its own.
"""

import logging
import os
import random
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from bert_lightning.cli import app
from bert_lightning.cli.explain import kinds
from bert_lightning.cli.schema import conf_dir
from bert_lightning.config import TrainConfig
from bert_lightning.config.affects import Option, leaves, options
from bert_lightning.config.plain import to_plain
from bert_lightning.optim.optimizers import build_optimizer
from bert_lightning.runs.loggers import build_loggers
from bert_lightning.training.assembly import assemble
from bert_lightning.training.fit import fit
from bert_lightning.training.stops import StopSignals
from bert_lightning.training.trainer import build_trainer, quiet

SEED = int(os.environ.get("FUZZ_SEED", "0"))
SECONDS = 60
OPTIONS = {option.name: option for option in options(TrainConfig)}
del OPTIONS["launcher.name"]  # its own tests start a cluster
SECTIONS = list(dict.fromkeys(name.rpartition(".")[0] or name for name in OPTIONS))
TEXTS = ["a=b", "größe (1)", "it's", "x,y", "C:\\new\\", "[1]", "{a: 1}", "007", "1e3", "true"]
WORDS = ["nope", "1.5x", "[1", "-"]
REFUSED, ANY = object(), object()
"""In place of a value: the command line must end with a message; or it may mean anything."""


def default(name: str) -> Any:
    return dict(leaves(to_plain(asdict(TrainConfig()))))[name]


Values = dict[str, list[tuple[str, Any]]]
"""By the kind of value: the text that is typed, and the value that it stands for."""


def numbers(option: Option) -> Values:
    """The numbers in and around the bounds of an option, and what is no number."""
    limits, kept = option.limits, default(option.name)
    bounds, integer = limits.bounds, kinds(option.hint)[0] is int
    step: float = 1 if integer else 1e-6
    inward = {"at_least": 0, "above": step, "at_most": 0, "below": -step}
    outward = {"at_least": -step, "above": 0, "at_most": step, "below": 0}
    inside = [bounds[name] + inward[name] for name in bounds]
    outside = [bounds[name] + outward[name] for name in bounds]
    outside += [] if limits.also == -1 else [-1.0]
    if integer and "at_most" not in bounds and not option.name.startswith("model."):
        inside.append(2**31)  # a model of that size is more than any machine's memory
    kind = int if integer else float
    wrong = [*WORDS, "", "[1]", "{a: 1}", "true x", *(["1.5"] if integer else [])]
    return {
        "fits": [(str(kept), kept)] if kept is not None else [("1", 1)],
        "edge": [(repr(kind(value)), kind(value)) for value in inside],
        "type": [(word, REFUSED) for word in wrong],
        "range": [
            *((repr(kind(value)), REFUSED) for value in outside),
            *((word, REFUSED) for word in ("nan", "inf", "-inf")),
        ],
    }


def values(option: Option) -> Values:
    """The values of an option that are tried."""
    kind, *others = kinds(option.hint)
    found: Values
    if kind is bool:
        found = {
            "fits": [("true", True), ("false", False)],
            "type": [(word, REFUSED) for word in [*WORDS, "2", "1.5", "", "[]"]],
        }
    elif kind in (int, float):
        found = numbers(option)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        found = {
            "fits": [(member.name, member.value) for member in kind],
            "type": [(word, REFUSED) for word in [*WORDS, "", "17", "true", "[a]"]],
        }
    elif kind is str and option.limits.words:
        found = {
            "fits": [(word, word) for word in option.limits.words],
            "type": [(word, REFUSED) for word in [*WORDS, *TEXTS, ""]],
        }
    elif kind is str:
        found = {"edge": [(text, text) for text in [*TEXTS, *WORDS]], "type": [("", REFUSED)]}
    elif get_origin(kind) is list:
        found = {
            "fits": [("[]", [])],
            "type": [(word, REFUSED) for word in ["nope", "3", "{a: 1}", "[nope:X]", "[[1]]"]],
        }
    else:
        assert kind is Any, f"{option.name} has a type that this test does not know: {kind}"
        words = ["1", "2", "0", "-1", "0.5", "1.5", "nope", "[0]", "[a]", "{a: 1}", "true", "-0.1"]
        found = {"edge": [(word, ANY) for word in words]}
    if type(None) in others:
        found.setdefault("edge", []).append(("null", None))
    elif kind is not Any:
        found["type"] = [*found.get("type", []), ("null", REFUSED)]
    return found


@dataclass
class Trial:
    """A command line: options as they are typed, and the values that they stand for."""

    given: dict[str, tuple[str, Any]]

    @property
    def line(self) -> list[str]:
        return [f"{name}={text}" for name, (text, _) in self.given.items()]


def trials(section: str, rng: random.Random) -> Iterator[Trial]:
    """A value of each kind for each option of a section, and some pairs of options that fit."""
    mine = [
        option for name, option in OPTIONS.items() if (name.rpartition(".")[0] or name) == section
    ]
    for option in mine:
        for tried in values(option).values():
            yield Trial({option.name: rng.choice(tried)})
    for _ in range(len(mine) // 2):
        chosen = rng.sample([*OPTIONS.values()], 3)
        yield Trial(
            {
                option.name: rng.choice([*tried.get("fits", []), *tried.get("edge", [])])
                for option in chosen
                for tried in [values(option)]
            }
        )


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Harness:
    """Runs command lines in this process, each in a folder of its own."""

    def __init__(
        self, base: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.base, self.monkeypatch, self.capfd = base, monkeypatch, capfd
        self.tried = self.taken = 0

    def check(self, trial: Trial, trains: bool) -> None:
        """Raises an AssertionError unless the command line ends in one of the two ways."""
        seen: list[TrainConfig] = []

        def task(config: TrainConfig) -> None:
            seen.append(fit(config).config if trains else put_together(config))

        self.tried += 1
        folder = [f"run_dir=run-{self.tried}"] if "run_dir" not in trial.given else []
        line = [*self.base, *folder, *trial.line]
        self.monkeypatch.setattr(sys, "argv", ["train.py", *line])
        code: Any = 0
        self.capfd.readouterr()
        try:
            with at_most(SECONDS):
                app.run(conf_dir(), task)
        except SystemExit as ended:
            code = ended.code
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{self.shown(line)}") from error
        said = self.capfd.readouterr().err
        if code == 0:
            self.taken += 1
            self.check_taken(trial, seen[0], line)
        else:
            assert code == 2, f"exit code {code}: {said}\n{self.shown(line)}"
            assert said.startswith("error: "), f"{said}\n{self.shown(line)}"
            assert said.count("error: ") == 1, f"{said}\n{self.shown(line)}"
            assert "Traceback" not in said, f"{said}\n{self.shown(line)}"

    def check_taken(self, trial: Trial, config: TrainConfig, line: list[str]) -> None:
        has = dict(leaves(to_plain(asdict(config))))
        for name, (text, meant) in trial.given.items():
            assert meant is not REFUSED, f"{name}={text} is taken\n{self.shown(line)}"
            same = meant is ANY or has[name] == meant or (meant is None and name == "seed")
            same = same or (name, meant) in DECIDED
            assert same, f"{name}={text} is ignored: {has[name]!r}\n{self.shown(line)}"

    @staticmethod
    def shown(line: list[str]) -> str:
        return f"FUZZ_SEED={SEED}; python train.py {shlex.join(line)}"


DECIDED = {("trainer.precision", "auto"), ("model.activation_checkpointing", None)}
"""Values that stand for what a run decides."""


def put_together(config: TrainConfig) -> TrainConfig:
    """All of a run but its steps."""
    run = assemble(config, None)
    build_optimizer(run.module.model, run.config.optim)
    with quiet():
        loggers = build_loggers(run.config, None)
        build_trainer(run, run.module.progress.steps, StopSignals(), loggers=loggers)
    return run.config


@pytest.fixture
def harness(
    corpus_file: Path,
    cache_dir: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Harness]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    base = [
        *("data=text", f"data.path={corpus_file}", f"data.cache_dir={cache_dir}", "logger=none"),
        *("tokenizer.min_frequency=1", "model.hidden_size=32", "model.intermediate_size=48"),
        *("batch.global_batch_size=8", "batch.max_length=32", "trainer.accelerator=cpu"),
        *("trainer.max_steps=2", "trainer.limit_val_batches=1", "trainer.precision=32-true"),
        "trainer.enable_progress_bar=false",
    ]
    root = logging.getLogger()
    handlers, level, modules = root.handlers[:], root.level, [*sys.path]
    yield Harness(base, monkeypatch, capfd)
    GlobalHydra.instance().clear()
    if torch.distributed.is_initialized():  # Lightning keeps that of a strategy until it exits
        torch.distributed.destroy_process_group()
    sys.path[:] = modules
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level


def failures(harness: Harness, tried: Iterator[Trial], trains: Callable[[int], bool]) -> list[str]:
    found = []
    for number, trial in enumerate(tried):
        try:
            harness.check(trial, trains(number))
        except AssertionError as error:
            found.append(str(error))
            print(found[-1], flush=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_takes_or_refuses_what_it_is_given(harness: Harness, section: str) -> None:
    rng = random.Random(f"{SEED} {section}")
    found = failures(harness, trials(section, rng), lambda number: number % 7 == 0)
    assert not found, f"{len(found)} of {harness.tried}:\n\n" + "\n\n".join(found)
    assert harness.tried


def test_a_handful_of_options(harness: Harness) -> None:
    handful = [
        Trial({"optim.lr": ("0.5", 0.5), "model.norm": ("pre", "pre"), "seed": ("null", None)}),
        Trial({"batch.micro_batch_size": ("0", REFUSED)}),
        Trial({"optim.weight_decay": ("nan", REFUSED)}),
        Trial({"init_from": ("a=b (1)", "a=b (1)")}),
    ]
    found = failures(harness, iter(handful), lambda number: number == 0)
    assert not found, "\n\n".join(found)
    assert harness.taken == 1


def test_every_option_takes_part_and_most_with_values_of_every_kind() -> None:
    assert {name for section in SECTIONS for name in OPTIONS if name.startswith(section)} == {
        *OPTIONS
    }
    for option in OPTIONS.values():
        tried = values(option)
        assert tried, option.name
        if kinds(option.hint)[0] in (int, float):
            assert tried.keys() == {"fits", "edge", "type", "range"}, option.name
        assert get_args(option.hint) or option.hint is not None


def test_the_harness_notices_a_value_that_is_ignored_and_a_traceback(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Trial({"optim.lr": ("0.25", 0.5)})
    with pytest.raises(AssertionError, match=r"optim\.lr=0\.25 is ignored: 0\.25"):
        harness.check(wrong, trains=False)
    with pytest.raises(AssertionError, match=r"optim\.lr=0\.25 is taken"):
        harness.check(Trial({"optim.lr": ("0.25", REFUSED)}), trains=False)

    def broken(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setitem(globals(), "put_together", broken)
    with pytest.raises(AssertionError, match="KeyError: 'x'"):
        harness.check(wrong, trains=False)
