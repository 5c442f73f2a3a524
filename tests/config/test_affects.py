"""Every option says what it affects, and the dataclasses alone say what its default is."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bert_lightning.cli import app as cli
from bert_lightning.config import PhaseConfig, RunConfig, TrainConfig
from bert_lightning.config.affects import LEARNING, Option, leaves, option, options
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import to_plain

CONF = Path(__file__).parents[2] / "conf"
RUNS: dict[str, type[RunConfig]] = {"train": TrainConfig, "finetune": FinetuneConfig}
DEFAULTS = {command: dict(leaves(to_plain(asdict(config())))) for command, config in RUNS.items()}
CHOSEN = {
    f"{group}/{choice}.yaml"
    for command in RUNS
    for entry in OmegaConf.load(CONF / f"{command}.yaml").defaults
    if OmegaConf.is_dict(entry)
    for group, choice in entry.items()
    if choice is not None and not group.startswith("override ")
}
"""The files that `train.py` and `finetune.py` compose without any option."""
FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.glob("*/*.yaml"))
OPTIONS = [
    *options(TrainConfig),
    *options(PhaseConfig, "batch.phases[]."),
    *options(FinetuneConfig),
]


@pytest.mark.parametrize("command", RUNS)
def test_what_is_composed_of_nothing_is_the_dataclasses_defaults(command: str) -> None:
    assert cli.compose(CONF, [], command) == RUNS[command]()


@pytest.mark.parametrize("found", OPTIONS, ids=lambda found: found.name)
def test_every_option_says_what_it_affects(found: Option) -> None:
    assert found.affects


@pytest.mark.parametrize("command", RUNS)
def test_no_option_is_passed_over(command: str) -> None:
    assert [found.name for found in options(RUNS[command])] == list(DEFAULTS[command])


@dataclass
class Unmarked:
    marked: int = option(1, LEARNING)
    plain: int = 2


@dataclass
class Outer:
    inner: Unmarked = field(default_factory=Unmarked)


@pytest.mark.parametrize(("section", "name"), [(Unmarked, "plain"), (Outer, "inner.plain")])
def test_an_option_without_a_mark_is_an_error(section: type, name: str) -> None:
    with pytest.raises(TypeError, match=f"the option {name} does not say what it affects"):
        list(options(section))


def set_in(file: str) -> dict[str, object]:
    """The options that a file of `conf/` sets, by their full names."""
    group = file.partition("/")[0]
    declared = re.match(r"# @package (\S+)\n", (CONF / file).read_text(encoding="utf-8"))
    package = declared[1] if declared else group
    values = OmegaConf.to_container(OmegaConf.load(CONF / file))
    assert isinstance(values, dict)
    values.pop("defaults", None)
    return dict(leaves(values, "" if package == "_global_" else f"{package}."))


@pytest.mark.parametrize("file", sorted(CHOSEN))
def test_a_file_that_is_the_default_sets_nothing(file: str) -> None:
    """But for loggers, which add up: each file sets its own; and each task names itself."""
    named = {"logger": {"logger.tensorboard": True}, "task": {"task.kind": "text"}}
    assert set_in(file) == named.get(file.partition("/")[0], {})


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("hydra/")])
def test_a_file_sets_only_what_is_not_the_default(file: str) -> None:
    """An experiment may set a default again: one of the groups that it takes has another."""
    found = {name: value for name, value in set_in(file).items() if not name.startswith("hydra.")}
    defaults = DEFAULTS["finetune" if "task/" in file or "/finetune" in file else "train"]
    assert found.keys() <= defaults.keys()
    if not file.startswith(("experiment/", "logger/", "task/")):
        assert not [name for name, value in found.items() if defaults[name] == value]
