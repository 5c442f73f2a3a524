"""What a worker of Ray says reaches the command, and stop signals the worker."""

import asyncio
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bert_lightning.config import LauncherConfig, LauncherName, TrainConfig, TrainerConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.launching import on_ray, stop_requests
from bert_lightning.launching.exchange import (
    Begun,
    Exchange,
    Message,
    Outcome,
    Printed,
    heard,
    repeat,
)
from bert_lightning.sizing.devices import find_devices
from bert_lightning.sizing.launcher import RAY, check_launch, launcher
from bert_lightning.training.stops import StopSignals
from bert_lightning.work import say

ON_RAY = LauncherConfig(LauncherName.ray, workers=8)


def test_lines_and_log_messages_come_in_order_and_nowhere_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[Message] = []
    root = logging.getLogger()
    before = root.level, [*root.handlers]
    with heard(told.append):
        print("one", end="")
        print(" line\nand", 2)
        logging.getLogger("bert_lightning.x").info("step %s", 3)
        print("no end", file=sys.stderr, end="")
    assert (root.level, root.handlers) == before
    assert capsys.readouterr() == ("", "")
    lines = [one.getMessage() if isinstance(one, logging.LogRecord) else one for one in told]
    assert lines == [
        Printed("stdout", "one line\n"),
        Printed("stdout", "and 2\n"),
        "step 3",
        Printed("stderr", "no end"),
    ]
    for one in pickle.loads(pickle.dumps(told)):
        assert not isinstance(one, logging.LogRecord) or one.args is None


def test_the_command_repeats_them(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    with heard(told.append):
        say("printed and logged")
        logging.getLogger("bert_lightning.x").warning("careful")
        logging.getLogger("httpx2").info("HTTP Request: GET https://example.org")
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, "httpx2")  # as the log of a run has it
    printed: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = printed.append  # type: ignore[method-assign]
    logging.getLogger("bert_lightning.printed").addHandler(handler)
    try:
        for one in told:
            repeat(one)
    finally:
        logging.getLogger("bert_lightning.printed").removeHandler(handler)
    assert capsys.readouterr().out == "printed and logged\n"
    assert [record.getMessage() for record in printed] == ["printed and logged"]
    assert caplog.messages[-1:] == ["careful"]


def test_a_stop_reaches_every_worker_whenever_it_asks() -> None:
    async def talk() -> list[Any]:
        exchange = Exchange()
        early = asyncio.create_task(exchange.stopped())
        await exchange.tell(Begun("here"))
        await exchange.stop(15)
        return [await exchange.next(), await early, await exchange.stopped()]

    assert asyncio.run(talk()) == [Begun("here"), 15, 15]


def test_a_run_hears_of_a_stop_that_was_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_requests, "_requested", 0)
    signals = StopSignals()
    fine = torch.tensor(False)
    assert signals.agree(fine).read().signal == 0
    stop_requests.request(signal.SIGTERM)
    stop_requests.request(signal.SIGINT)
    assert signals.agree(fine).read().signal == signal.SIGTERM


def test_the_end_of_a_run_travels_between_processes() -> None:
    ended = pickle.loads(pickle.dumps(RunEnded("stopped at step 7", 143)))
    assert (str(ended), ended.exit_code) == ("stopped at step 7", 143)


class FakeExchange:
    """Messages that are there already; what is sent back is noted."""

    def __init__(self, *messages: Message) -> None:
        self.stops: list[int] = []
        self.messages = messages
        self.stop = SimpleNamespace(remote=self.stops.append)


def listen(
    monkeypatch: pytest.MonkeyPatch, *messages: Any, fit: Any = lambda: None, failures: int = 3
) -> FakeExchange:
    exchange = FakeExchange(*messages)

    def given(exchange: FakeExchange, training: threading.Thread) -> Iterator[Any]:
        for message in exchange.messages:
            if isinstance(message, signal.Signals):
                os.kill(os.getpid(), message)
            else:
                yield message
        training.join()

    monkeypatch.setattr(on_ray, "_messages", given)
    on_ray._listen(exchange, fit, LauncherConfig(LauncherName.ray, 2, max_failures=failures))
    return exchange


def test_stop_signals_are_passed_on_once_the_workers_are_there(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    exchange = listen(monkeypatch, Begun("a"), signal.SIGTERM, None, None)
    assert exchange.stops == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(RunEnded, match="stopped by SIGTERM before the workers began") as ended:
        listen(monkeypatch, signal.SIGTERM, None)
    assert ended.value.exit_code == 143
    with pytest.raises(KeyboardInterrupt):
        listen(monkeypatch, Begun("a"), signal.SIGINT, None, signal.SIGINT, None)
    assert "Ctrl-C again ends the run at once" in capfd.readouterr().err


def test_a_second_start_is_said_and_the_lowest_rank_is_believed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listen(monkeypatch, Begun("a"), None)
    assert not caplog.messages
    listen(monkeypatch, Begun("a"), Begun("b"))
    assert "a worker was lost, and Ray started all 2 again" in caplog.text
    one, zero = Outcome(1, RunEnded("lost", 1)), Outcome(0, UserError("batch too large"))
    with pytest.raises(UserError, match="batch too large"):
        listen(monkeypatch, Begun("a"), one, zero)


def test_workers_that_are_lost_too_often_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit() -> None:
        raise RuntimeError("Training failed due to worker errors:\n[Rank 1] The actor died.\nmore")

    expected = r"after it started the workers 1 times.*max_failures=0\): \[Rank 1\] The actor died"
    with pytest.raises(RunEnded, match=f"{expected}.; resume= continues") as ended:
        listen(monkeypatch, Begun("a"), fit=fit, failures=0)
    assert ended.value.exit_code == 1


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [("auto", 0, False), ("auto", 8, True), ("cpu", 8, False), ("gpu", 9, True)],
)
def test_workers_have_gpus_where_the_cluster_has_them(
    wanted: str, there: float, expected: bool
) -> None:
    config = TrainConfig(launcher=ON_RAY, trainer=TrainerConfig(accelerator=wanted))
    assert on_ray._use_gpus(config, there) is expected


@pytest.mark.parametrize(("wanted", "there"), [("auto", 4), ("gpu", 0)])
def test_too_few_gpus_are_refused(wanted: str, there: float) -> None:
    config = TrainConfig(launcher=ON_RAY, trainer=TrainerConfig(accelerator=wanted))
    with pytest.raises(UserError, match=rf"launcher.workers=8 .* Ray finds {there}: use "):
        on_ray._use_gpus(config, there)


@pytest.mark.parametrize(
    ("launched", "trainer", "message"),
    [
        ({"workers": 8}, {}, "workers=8 are workers of Ray: add launcher=ray, or .*devices=8"),
        ({"name": LauncherName.ray}, {"devices": 2}, "omit trainer.devices=2 trainer.num_nodes=1"),
        ({"name": LauncherName.ray}, {"num_nodes": 2}, "omit trainer.devices=auto .*num_nodes=2"),
        ({"name": LauncherName.ray}, {"accelerator": "mps"}, "Ray knows no Apple GPUs"),
        ({"workers": 0}, {}, "launcher.workers=0 must be at least 1"),
    ],
)
def test_options_that_contradict_the_launcher_are_refused(
    launched: dict[str, Any], trainer: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        TrainConfig(launcher=LauncherConfig(**launched), trainer=TrainerConfig(**trainer))


def test_a_worker_takes_its_device_and_the_ranks_from_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RAY, "cpu")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    devices = find_devices(TrainConfig(launcher=ON_RAY))
    assert (devices.accelerator, devices.devices, devices.world_size) == ("cpu", 3, 8)
    assert launcher() == "Ray"
    check_launch(devices)


def test_without_ray_one_message_has_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = TrainConfig(launcher=ON_RAY, run_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"launcher=ray needs Ray, .*'bert-lightning\[ray\]'"):
        on_ray.train_on_ray(config, lambda _: None)
