"""Small twins of the recipes: the same options on a small model and a small text."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path

import pytest

from benchmarks.recipe_results import (
    LEARNED,
    RECIPES,
    comparable,
    entries,
    learned_options,
    unused,
)
from benchmarks.recipes_table import recipes_table
from bert_lightning.cli import app as cli
from bert_lightning.config import PhaseConfig, TrainConfig
from bert_lightning.config.affects import named
from bert_lightning.config.plain import to_plain
from bert_lightning.training.fit import fit

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
STEPS = 20
SMALL = (
    *("model.num_hidden_layers=2", "model.num_attention_heads=2"),
    *("model.max_position_embeddings=64", "batch.max_length=64"),
    *("batch.micro_batch_size=null", "trainer.devices=1", "strategy=auto"),
    *("tokenizer=word", "tokenizer.vocab_size=null", "data.streaming=false"),
)  # fmt: skip


def composed(recipe: str) -> TrainConfig:
    return cli.compose(ROOT / "conf", ["run_dir=.", f"experiment={recipe}"])


def small_phase(phase: PhaseConfig) -> str:
    """The same phase with an eighth of the length."""
    length, pairs = phase.max_length, phase.global_batch_size
    own = [f"max_length:{length // 8}"] if length else []
    own += ["global_batch_size:16"] if pairs else []
    return "{" + ",".join([f"fraction:{phase.fraction}", *own]) + "}"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", NAMES)
def test_the_twin_of_a_recipe_trains(
    small_config: Callable[..., TrainConfig], tmp_path: Path, recipe: str
) -> None:
    asked = composed(recipe)
    by_the_clock = asked.optim.time_budget is not None
    ends = (
        ["optim.time_budget=1s", "trainer.max_steps=-1"]
        if by_the_clock
        else [f"trainer.max_steps={STEPS}"]
    )
    options = [f"experiment={recipe}", f"optim={asked.optim.optimizer.value}", *SMALL, *ends]
    if asked.optim.warmup_steps:
        options.append("optim.warmup_steps=3")
    if asked.batch.phases:
        options.append(f"batch.phases=[{','.join(map(small_phase, asked.batch.phases))}]")
    result = fit(small_config(tmp_path, *options))
    assert isfinite(result.curves["val/mlm_loss"][-1][1])
    assert result.steps == STEPS or by_the_clock
    ran = result.config
    assert ran.objective == asked.objective
    assert ran.batch.masking == asked.batch.masking
    assert replace(ran.optim, time_budget=None, warmup_steps=0) == replace(
        asked.optim, time_budget=None, warmup_steps=0
    )
    assert len(ran.batch.phases or []) == len(asked.batch.phases or [])


@pytest.mark.parametrize("recipe", sorted({path.name for path in RECIPES.iterdir()}))
def test_a_result_was_made_with_the_recipe_as_it_is(recipe: str) -> None:
    asked = to_plain(asdict(composed(recipe)))
    apart = dict.fromkeys(("trainer.max_steps", "trainer.precision"))  # shorter; what `auto` was
    for path in RECIPES.glob(f"{recipe}/seed=*"):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        result = json.loads((path / "result.json").read_text(encoding="utf-8"))
        assert learned_options(config) | apart == learned_options(asked) | apart
        assert f"experiment={recipe} " in result["command"]
        assert path.name == f"seed={config['seed']}"
        last = result["validations"][-1]
        assert last["step"] == result["steps"]
        # validation has the precision of the training, evaluation fp32
        evaluated = result["validation"]["mlm"]["all"]["loss"]
        assert evaluated == pytest.approx(last["mlm_loss"], abs=0.01)


def test_all_results_have_the_options_that_affect_learning() -> None:
    """A new option belongs in `LATER`, with what was so before it."""
    names = {name for name in named(TrainConfig, LEARNED) if name != "seed"}
    for entry in entries():
        assert names == entry.options.keys() | unused(entry.options)


def test_the_results_of_wikitext_2_are_of_one_evaluation_set() -> None:
    others = {one.recipe for one in entries() if one.variant is None and not comparable(one)}
    assert others == {"chinese_tiny"}


def test_the_table_has_mean_and_range(tmp_path: Path) -> None:
    path = RECIPES / "tiny_8min" / "seed=0" / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    for seed, loss in enumerate((4.0, 4.5)):
        result["validation"]["mlm"]["all"]["loss"] = loss
        folder = tmp_path / "some" / f"seed={seed}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes((path.parent / "config.json").read_bytes())
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert "| 2 |" in recipes_table(tmp_path)
    assert "| 4.25 (4.00 to 4.50) |" in recipes_table(tmp_path)
