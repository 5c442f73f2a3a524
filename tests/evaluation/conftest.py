"""A real run of a few steps on the small text, and its checkpoint."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bert_lightning.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.reports.run_report import report
from bert_lightning.training.fit import FitResult, fit

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def small_model() -> ModelConfig:
    return ModelConfig(hidden_size=32, intermediate_size=64, max_position_embeddings=32)


@pytest.fixture(scope="session")
def run(
    small_data: DataConfig, small_model: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> FitResult:
    """Eight steps, after which the folder is as `train.py` leaves it."""
    config = TrainConfig(
        data=replace(small_data, validation_fraction=0.2),
        tokenizer=TokenizerConfig(min_frequency=1),
        model=small_model,
        optim=OptimConfig(lr=1e-2),
        trainer=TrainerConfig(
            accelerator="cpu",
            max_steps=8,
            val_check_interval=4,
            log_every_n_steps=1,
            enable_progress_bar=False,
        ),
        run_dir=str(tmp_path_factory.mktemp("runs") / "run"),
    )
    result = fit(config)
    report(result)
    return result


@pytest.fixture
def script() -> Callable[[str], ModuleType]:
    """Imports a file of `scripts/` by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like a name on the hub is not asked for there."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
