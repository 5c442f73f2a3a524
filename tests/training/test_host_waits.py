"""Steps in which the host never waits for the device, and what is read a step later.

CPU tests let the results of the CPU be read as late as those of a GPU, which takes the same way.
"""

import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from left_behind import assert_same, checkpoint, state
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import TrainConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.training import stops
from bert_lightning.training.fit import fit
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]
SELDOM = ("trainer.log_every_n_steps=100", "trainer.val_check_interval=100")
RARE = (*SELDOM, "callbacks.every_n_train_steps=100")


@pytest.fixture
def _late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stops, "READ_LATER", ("cpu",))


class Reads(TorchDispatchMode):
    """Collects where the host reads a number from a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.step = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        if func in reads:
            self.steps.append(self.step)
        return func(*args, **(kwargs or {}))


class EachStep(Callback):
    """Does something with the number of each step, before and after it."""

    def __init__(self, begin: Callable[[int], None], end: Callable[[int], None]) -> None:
        self.begin, self.end = begin, end

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.begin(trainer.global_step + 1)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.end(trainer.global_step)


@pytest.mark.usefixtures("_late")
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_the_host_reads_nothing_in_a_step_that_is_not_logged(
    small_config: Config, tmp_path: Path, optim: str
) -> None:
    reads = Reads()

    def begin(step: int) -> None:
        reads.step = step

    options = [*RARE, f"optim={optim}", "trainer.gradient_clip_val=0.1", "optim.ema_decay=0.9"]
    options += ["trainer.log_every_n_steps=4", "trainer.accelerator=cpu"]
    # Without dropout, whose seed is drawn on the host if the CPU computes.
    with reads:
        fit(small_config(tmp_path, *options), callbacks=[EachStep(begin, lambda _: begin(0))])
    assert {4, 6} <= {*reads.steps} <= {0, 4, 6}  # 0: between steps, as in a validation


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_no_step_waits_for_the_gpu(small_config: Config, tmp_path: Path, optim: str) -> None:
    def begin(step: int) -> None:
        # The first steps set up cuBLAS and the optimizer; the last one is logged.
        torch.cuda.set_sync_debug_mode("error" if 2 < step < 8 else "default")

    options = [*RARE, f"optim={optim}", "trainer.gradient_clip_val=0.1", "optim.ema_decay=0.9"]
    options += ["trainer.max_steps=8", "model.hidden_dropout_prob=0.1"]
    options += ["trainer.accelerator=gpu", "trainer.devices=1", "trainer.precision=bf16-mixed"]
    try:
        fit(small_config(tmp_path, *options), callbacks=[EachStep(begin, lambda _: begin(0))])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def break_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Makes the gradient of a step not finite, in runs of one micro-batch."""
    original = PretrainingModule.training_step

    def training_step(module: PretrainingModule, batch: PretrainBatch, batch_idx: int) -> Tensor:
        loss = original(module, batch, batch_idx)
        if batch_idx == step - 1:
            loss.register_hook(lambda gradient: gradient * math.nan)
        return loss

    monkeypatch.setattr(PretrainingModule, "training_step", training_step)


class Weights(Callback):
    """Keeps the weights and the optimizer's state after each step."""

    def __init__(self) -> None:
        self.after: dict[int, list[Tensor]] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.curves = pl_module.progress.curves
        parts = getattr(trainer.optimizers[0], "optimizers", trainer.optimizers)
        states = [each for part in parts for each in part.state.values()]
        kept = [*pl_module.model.parameters(), *(v for each in states for v in each.values())]
        self.after[trainer.global_step] = [value.detach().clone() for value in kept]


@pytest.mark.usefixtures("_late")
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_a_bad_update_is_left_out_by_the_device_and_named_a_step_later(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optim: str
) -> None:
    break_step(monkeypatch, 3)
    weights = Weights()
    with pytest.raises(UserError, match=r"not finite at step 3 .*gradient norm nan; batch 2 of"):
        fit(small_config(tmp_path, *RARE, f"optim={optim}"), callbacks=[weights])
    assert [*weights.after] == [1, 2, 3]
    assert all(map(torch.equal, weights.after[3], weights.after[2]))
    assert not any(map(torch.equal, weights.after[2][:5], weights.after[1]))


@pytest.mark.usefixtures("_late")
@pytest.mark.parametrize(
    "then",
    [
        "callbacks.every_n_train_steps=3",  # a checkpoint
        "trainer.val_check_interval=3",  # a validation
        "trainer.log_every_n_steps=3",  # a log
        "optim.optimizer=lamb",  # which cannot leave it out
    ],
)
def test_what_others_would_see_of_a_bad_step_waits_for_the_device(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    break_step(monkeypatch, 3)
    weights = Weights()
    with pytest.raises(UserError, match=r"not finite at step 3 "):
        fit(small_config(tmp_path, *RARE, then), callbacks=[weights])
    before_the_update = "log_every" in then or "lamb" in then
    assert [*weights.after] == [1, 2, *([] if before_the_update else [3])]
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not weights.curves


@pytest.mark.usefixtures("_late")
def test_a_bad_step_before_a_stop_is_an_error_and_no_checkpoint(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_step(monkeypatch, 3)
    received = EachStep(lambda _: None, lambda step: step == 2 and signal.raise_signal(15))
    with pytest.raises(UserError, match=r"not finite at step 3 "):
        fit(small_config(tmp_path, *RARE), callbacks=[received])
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.usefixtures("_late")
def test_a_late_stop_resumes_bit_exact(small_config: Config, tmp_path: Path) -> None:
    options = [*SELDOM, "model.hidden_dropout_prob=0.1"]
    received = EachStep(lambda _: None, lambda step: step == 2 and signal.raise_signal(15))
    with pytest.raises(RunEnded, match="stopped at step 4 by SIGTERM; saved "):
        fit(small_config(tmp_path / "run", *options), callbacks=[received])
    fit(small_config(tmp_path / "run", *options, "resume=auto"))
    stops.READ_LATER = ()  # as on the CPU
    fit(small_config(tmp_path / "whole", *options))
    ends = [state(checkpoint(tmp_path / name, 6)) for name in ("run", "whole")]
    assert_same(*ends)


@pytest.mark.slow
@pytest.mark.usefixtures("_late")
def test_a_late_time_limit_and_a_late_budget_end_the_run_after_a_step(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stops.StopSignals.agree

    def agree(signals: stops.StopSignals, *known: Any) -> stops.Exchange:
        signals.deadline = 0.0
        return original(signals, *known)

    monkeypatch.setattr(stops.StopSignals, "agree", agree)
    result = fit(small_config(tmp_path, *SELDOM, "trainer.max_time=00:01:00:00"))
    monkeypatch.undo()
    assert result.steps == 2  # told before the first update, and read before the second
    assert result.progress.out_of_time
    assert result.curves["val/loss"][-1][0] == 2

    config = small_config(tmp_path / "budget", *SELDOM)
    config.optim.time_budget, config.optim.decay_fraction = "10s", 0.2
    module = PretrainingModule(config, 50, 10**9, [100], {})
    monkeypatch.setattr(stops, "READ_LATER", ("cpu",))
    monkeypatch.setattr(PretrainingModule, "gradient_norm", lambda _: torch.tensor(1.0))
    monkeypatch.setattr(stops, "can_skip", lambda _: True)
    monkeypatch.setattr(stops, "skip_where", lambda *_: None)
    callback = stops.StopConsensus(module, stops.StopSignals(), None)
    loop = SimpleNamespace(max_steps=10**9)
    trainer: Any = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=loop), optimizers=[None])
    for step, end in ((7, 10**9), (8, 10**9), (9, 11)):
        module.progress.clock = SimpleNamespace(elapsed=float(step))  # type: ignore[assignment]
        trainer.global_step = step
        module.losses.append(torch.tensor(1.0))
        callback.on_before_optimizer_step(trainer)
        assert loop.max_steps == end


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
