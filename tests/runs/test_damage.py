"""Runs whose newest checkpoints are corrupted resume from an earlier one, or refuse to."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from left_behind import assert_same, checkpoint, curves, state

from bert_lightning.config import TrainConfig
from bert_lightning.errors import UserError
from bert_lightning.pretrained.checkpoints import checkpoints_by_step, manifest_path
from bert_lightning.runs.resume import find_resume_point
from bert_lightning.training import saving
from bert_lightning.training.fit import FitResult, fit

Config = Callable[..., TrainConfig]
Damage = Callable[[Path], None]
OPTIONS = (
    "callbacks.every_n_train_steps=2",
    "callbacks.save_top_k=0",
    "model.hidden_dropout_prob=0.2",
)
RNG = random.Random(0)


def flip(place: float, bit: int) -> Damage:
    """Turns one bit over, at a place from 0 to 1."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1 << bit
        path.write_bytes(data)

    return damage


def cut(share: float) -> Damage:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return damage


FLIPS = [(RNG.random(), RNG.randrange(8)) for _ in range(20)]
DAMAGES = [
    *(pytest.param(flip(place, bit), id=f"bit {bit} at {place:.4f}") for place, bit in FLIPS),
    *(pytest.param(cut(share), id=f"cut at {share}") for share in (0.0, 0.1, 0.5, 0.999)),
    pytest.param(lambda path: flip(0.5, 3)(manifest_path(path)), id="a bit of the manifest"),
]


@pytest.fixture(scope="module")
def whole(
    small_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, FitResult]]:
    """A run of 6 steps that keeps all its checkpoints: those of steps 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "_NEWEST", 99)
        yield folder, fit(small_config(folder, *OPTIONS))


@pytest.fixture
def killed(whole: tuple[Path, FitResult], tmp_path: Path) -> Path:
    """That run, as if it had been killed after step 5."""
    for step in (2, 4):
        file, copy = checkpoint(whole[0], step), checkpoint(tmp_path, step)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(file, copy)
        shutil.copy(manifest_path(file), manifest_path(copy))
    return tmp_path


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    small_config: Config, killed: Path, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    damage(checkpoint(killed, 4))
    found = find_resume_point(small_config(killed, *OPTIONS, "resume=auto"))
    (warning,) = caplog.messages
    assert warning.startswith(f"{checkpoint(killed, 4)} is corrupt (")
    assert warning.endswith("trying the checkpoint before it")
    assert found is not None
    assert found.path == checkpoint(killed, 2)
    assert found.corrupted == (checkpoint(killed, 4),)


@pytest.mark.parametrize("damage", [DAMAGES[0], *DAMAGES[-2:]])
def test_a_run_without_its_newest_checkpoint_is_the_run_that_never_stopped(
    small_config: Config,
    whole: tuple[Path, FitResult],
    killed: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Damage,
) -> None:
    damage(checkpoint(killed, 4))
    caplog.set_level("INFO")
    result = fit(small_config(killed, *OPTIONS, "resume=auto"))
    assert f"resumes from step 2: {checkpoint(killed, 2)}" in caplog.messages
    for step in (4, 6):
        assert_same(state(checkpoint(killed, step)), state(checkpoint(whole[0], step)))
    assert curves(result) == curves(whole[1])


def test_all_are_damaged(small_config: Config, killed: Path) -> None:
    flip(0.5, 0)(checkpoint(killed, 2))
    cut(0.5)(checkpoint(killed, 4))
    before = {path: path.read_bytes() for path in checkpoints_by_step(killed)}
    for resume in ("auto", killed):
        with pytest.raises(UserError, match=r"all 2 checkpoints in .* are corrupted; hydra\.run"):
            fit(small_config(killed, *OPTIONS, f"resume={resume}"))
    assert {path: path.read_bytes() for path in checkpoints_by_step(killed)} == before
