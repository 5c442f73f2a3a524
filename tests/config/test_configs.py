"""Every file of `conf/` makes a config, and every option is read by something."""

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import lightning as L  # noqa: N812
import pytest
import torch

from bert_lightning import config
from bert_lightning.cli import app as cli
from bert_lightning.config import BatchConfig, OptimConfig, TrainConfig, TrainerConfig
from bert_lightning.config.affects import options
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.trainer import NO_OPTIONS
from bert_lightning.errors import UserError
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.training.trainer import _SET_HERE

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
PACKAGE = ROOT / "bert_lightning"
FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
RUNS = {"train": TrainConfig, "finetune": FinetuneConfig}
SECTIONS = [
    value
    for module in (config, config.finetune)
    for value in vars(module).values()
    if inspect.isclass(value)
    and is_dataclass(value)
    and value.__module__.startswith(config.__name__)
]


def compose(*overrides: str) -> TrainConfig:
    # Outside a run there is no hydra:runtime.output_dir.
    return cli.compose(CONF, ["run_dir=/somewhere", *overrides])


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_composes(file: Path) -> None:
    group = file.parent.as_posix()
    command = "finetune" if "finetune" in file.stem or group == "task" else "train"
    chosen = [] if group == "." else [f"{group}={file.stem}"]
    composed = cli.compose(CONF, ["run_dir=/somewhere", *chosen], command)
    assert isinstance(composed, RUNS[command])


@pytest.mark.parametrize("path", sorted(CONF.iterdir()), ids=lambda path: path.name)
def test_every_folder_is_a_group_of_the_schema(path: Path) -> None:
    sections = (TrainConfig, BatchConfig, FinetuneConfig)
    groups = {field.name for section in sections for field in fields(section)}
    groups |= {"arch", "experiment", "hparams_search", "hydra"}  # arch sets options of model
    assert path.name in {*groups, *(f"{command}.yaml" for command in RUNS)}


def test_the_textbooks_model() -> None:
    model = compose("model=tiny").model
    assert model.num_hidden_layers == 2
    assert model.hidden_size == 128
    assert model.num_attention_heads == 2
    assert model.intermediate_size == 256
    assert model.hidden_dropout_prob == model.attention_probs_dropout_prob == 0.2


@pytest.mark.parametrize("size", ["tiny", "mini", "small", "medium", "base", "large"])
def test_every_size_is_of_either_kind(size: str) -> None:
    same_size = compose(f"model={size}").model
    for arch, kind in (("bert", ("post", True)), ("modern", ("pre", False))):
        model = compose(f"model={size}", f"arch={arch}").model
        assert (model.norm.value, model.bias) == kind
        assert (model.num_hidden_layers, model.hidden_size, model.hidden_dropout_prob) == (
            same_size.num_hidden_layers,
            same_size.hidden_size,
            same_size.hidden_dropout_prob,
        )
        with torch.device("meta"):
            BertForPreTraining(model, 100)


def test_an_override_wins_over_an_experiment() -> None:
    assert compose("experiment=textbook").optim.lr == 0.01
    assert compose("experiment=textbook", "optim.lr=0.5").optim.lr == 0.5


def test_an_experiment_is_the_run_of_no_other_defaults() -> None:
    assert compose() == compose("model=tiny", "data=wikitext2", "optim=muon")


@cache
def attributes_read() -> set[str]:
    """Names that the package reads as attributes, outside the room that declares the options."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "config")
    return {
        node.attr
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_no_option_is_dead(section: type) -> None:
    declared = {field.name for field in fields(section)}
    if issubclass(section, TrainerConfig):  # the rest goes to Lightning as it is
        declared &= {*_SET_HERE}
    # The weights of objectives are looked up by the objective's name.
    weights = {name for name in declared if name.endswith(("_weight", "_weights"))}
    assert declared - weights <= attributes_read()


def test_every_argument_of_lightnings_trainer_is_an_option_or_says_why_not() -> None:
    arguments = set(inspect.signature(L.Trainer.__init__).parameters) - {"self"}
    options = {field.name for field in fields(TrainerConfig)}
    assert options | NO_OPTIONS.keys() == arguments
    assert not options & NO_OPTIONS.keys()


@pytest.mark.parametrize("name", sorted(NO_OPTIONS))
def test_an_argument_that_is_no_option_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError, match=re.escape(NO_OPTIONS[name])):
        cli.compose_for_script(CONF, [f"trainer.{name}=1"])


@pytest.mark.parametrize("name", sorted(NO_OPTIONS))
def test_the_options_that_a_reason_names_exist(name: str) -> None:
    known = {option.name for option in options(TrainConfig)}
    for named in re.findall(r"((?:trainer|callbacks|logger|data)\.\w+)", NO_OPTIONS[name]):
        assert named in known


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_section_says_what_it_is(section: type) -> None:
    assert section.__doc__
    assert not section.__doc__.startswith(f"{section.__name__}(")  # dataclass writes that one
    assert section.__doc__.split("\n", 1)[0].endswith(".")


def test_options_without_a_docstring_are_those_whose_name_says_it_all() -> None:
    trees = [
        ast.parse(path.read_text(encoding="utf-8")) for path in (PACKAGE / "config").glob("*.py")
    ]
    bare = set()
    names = {section.__name__ for section in SECTIONS}
    nodes = (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    for section in (node for node in nodes if node.name in names):
        for option, after in zip(section.body, [*section.body[1:], None], strict=True):
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(option, ast.AnnAssign) and not documented:
                assert isinstance(option.target, ast.Name)
                bare.add(f"{section.name}.{option.target.id}")
    lightnings = {f"TrainerConfig.{field.name}" for field in fields(TrainerConfig)}
    sections = {
        f"{config.__name__}.{field.name}" for config in RUNS.values() for field in fields(config)
    }
    defaults = {f"FinetuneOptimConfig.{field.name}" for field in fields(OptimConfig)}
    assert bare - defaults - lightnings - sections <= {
        "BatchConfig.masking",
        "BatchConfig.pairs",
        *(
            f"ModelConfig.{name}"
            for name in (
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "hidden_act",
                "hidden_dropout_prob",
                "attention_probs_dropout_prob",
                "type_vocab_size",
                "layer_norm_eps",
            )
        ),
        *(f"ObjectiveConfig.{name}" for name in ("mlm_weight", "nsp_weight")),
        *(f"OptimConfig.{name}" for name in ("optimizer", "beta1", "beta2", "eps")),
    }


@pytest.mark.parametrize(
    "more",
    [
        ("optim.lr=0.5", "seed=3", "arch=modern", "model.hidden_size=48"),
        ("batch.phases=[{fraction: 0.5, max_length: 16}, {fraction: 0.5}]", "test=true"),
        ("trainer.max_time=00:01:00:00", "init_from='a b'", "trainer.max_steps=null"),
    ],
)
def test_a_small_config_is_what_hydra_composes(
    small_config: Callable[..., TrainConfig],
    small_run: Callable[..., list[str]],
    tmp_path: Path,
    more: tuple[str, ...],
) -> None:
    composed = cli.compose(CONF, small_run(f"run_dir={tmp_path}", *more))
    assert small_config(tmp_path, *more) == composed
