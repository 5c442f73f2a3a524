"""Processes of a launcher meet; one that waits in vain says for whom, and stops when it is told."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from bert_lightning.runs import processes

CODE = """
import os, signal, sys
from datetime import timedelta
import torch.distributed as dist
from bert_lightning.errors import RunEnded
from bert_lightning.runs import processes

rank, address, port, patience, timeout = sys.argv[1:]
processes._PATIENCE_SECONDS = float(patience)
os.environ.update(MASTER_ADDR=address, MASTER_PORT=port)
for name in ("SIGINT", "SIGTERM"):
    signal.signal(getattr(signal, name), lambda *_: print("noted"))
print("waits", flush=True)
try:
    with processes.meeting(f"{address}:{port}", int(rank), 2):
        limit = timedelta(seconds=float(timeout))
        dist.init_process_group("gloo", rank=int(rank), world_size=2, timeout=limit)
    print("met", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
except RunEnded as ended:
    print(ended)
"""


def start(
    rank: int, port: int, address: str = "127.0.0.1", patience: float = 60, timeout: float = 60
) -> "subprocess.Popen[str]":
    arguments = [str(rank), address, str(port), str(patience), str(timeout)]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_signal_ends_the_waiting(port: int, number: signal.Signals, rank: int) -> None:
    waiting = start(rank, port, patience=0.5)
    assert waiting.stdout is not None
    assert waiting.stderr is not None
    assert waiting.stdout.readline() == "waits\n"
    told = f"rank {rank} of 2 waits for the other processes at 127.0.0.1:{port}"
    while told not in (line := waiting.stderr.readline()):
        assert line, "it ended"
    time.sleep(0.5)
    waiting.send_signal(number)
    _, errors = waiting.communicate(timeout=10)
    assert waiting.returncode == 128 + number
    assert f"stopped by {number.name} while {told}" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "address"), [(0, "127.0.0.1"), (1, "127.0.0.1"), (1, "no-such-host.invalid")]
)
def test_waiting_in_vain_ends_with_the_address(port: int, rank: int, address: str) -> None:
    waiting = start(rank, port, address=address, timeout=2)
    output, _ = waiting.communicate(timeout=60)
    assert f"rank {rank} of 2 did not meet the other processes at {address}:{port}" in output
    assert "firewall" in output


@pytest.mark.slow
def test_those_who_meet_are_told_nothing_and_handle_signals_again(port: int) -> None:
    for waiting in [start(rank, port) for rank in (0, 1)]:
        output, errors = waiting.communicate(timeout=60)
        assert output == "waits\nmet\nnoted\n"
        assert "waits for" not in errors


@pytest.mark.parametrize(
    ("number", "name"),
    [(15, "SIGTERM"), (9, "SIGKILL"), (40, "signal 40"), (200, "signal 200")],
)
def test_every_signal_has_a_name(number: int, name: str) -> None:
    """Python knows none of most real-time signals, which a scheduler may use."""
    assert processes._signal_name(number) == name
