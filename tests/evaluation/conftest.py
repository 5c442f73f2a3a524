"""A real run of a few steps on the small text, and its checkpoint."""

import pytest

from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    ModelConfig,
    OptimConfig,
    OptimizerName,
    ScheduleName,
    TokenizerConfig,
    TrainConfig,
    TrainerConfig,
)
from bert_lightning.reports.run_report import report
from bert_lightning.training.fit import FitResult, fit


@pytest.fixture(scope="session")
def small_model() -> ModelConfig:
    return ModelConfig(
        hidden_size=32,
        intermediate_size=64,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=32,
        initializer_range=0.02,
        sinusoidal_init=False,
    )


@pytest.fixture(scope="session")
def run(
    small_data: CorpusConfig,
    small_batch: BatchConfig,
    small_model: ModelConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> FitResult:
    """Eight steps, after which the folder is as `train.py` leaves it."""
    config = TrainConfig(
        data=small_data,
        batch=small_batch,
        tokenizer=TokenizerConfig(min_frequency=1),
        model=small_model,
        optim=OptimConfig(
            optimizer=OptimizerName.adamw,
            lr=1e-2,
            beta2=0.999,
            weight_decay=0.01,
            schedule=ScheduleName.linear,
        ),
        trainer=TrainerConfig(
            accelerator="cpu",
            precision="32-true",
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
