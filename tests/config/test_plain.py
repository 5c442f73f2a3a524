"""Options as plain values and back."""

import json
from dataclasses import asdict

import pytest

from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    CorpusSource,
    FeedForwardKind,
    LoggerConfig,
    MaskingConfig,
    MaskingUnit,
    ModelConfig,
    NormPlacement,
    PhaseConfig,
    StrategyConfig,
    StrategyName,
    TrainConfig,
)
from bert_lightning.config.plain import from_plain, to_plain


def test_enums_become_strings_at_any_depth() -> None:
    assert to_plain({"a": [CorpusSource.text, 1], "b": {"c": (CorpusSource.builtin, None)}}) == {
        "a": ["text", 1],
        "b": {"c": ["builtin", None]},
    }


def test_a_group_of_options_comes_back_from_json() -> None:
    config = ModelConfig(norm=NormPlacement.pre, feed_forward=FeedForwardKind.glu, vocab_size=7)
    assert from_plain(ModelConfig, json.loads(json.dumps(to_plain(asdict(config))))) == config


@pytest.mark.parametrize(
    "logger", [LoggerConfig(tensorboard=False), LoggerConfig(wandb=True, offline=True)]
)
def test_a_whole_config_comes_back_from_json(logger: LoggerConfig) -> None:
    config = TrainConfig(
        logger=logger,
        data=CorpusConfig(source=CorpusSource.builtin),
        batch=BatchConfig(
            masking=MaskingConfig(unit=MaskingUnit.span),
            phases=[PhaseConfig(0.9, max_length=64), PhaseConfig(0.1)],
        ),
        strategy=StrategyConfig(StrategyName.ddp),
        seed=None,
    )
    assert from_plain(TrainConfig, json.loads(json.dumps(to_plain(asdict(config))))) == config


def test_an_unknown_option_and_an_unknown_value_are_errors() -> None:
    with pytest.raises(TypeError, match="layers"):
        from_plain(ModelConfig, {"layers": 2})
    with pytest.raises(ValueError, match="sideways"):
        from_plain(ModelConfig, {"norm": "sideways"})
