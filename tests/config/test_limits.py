"""Every option refuses what it does not take, on the command line and from Python."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from members import refused, taken

from bert_lightning.cli import app as cli
from bert_lightning.cli.command_line import written
from bert_lightning.config import BatchConfig, PhaseConfig, RunConfig, TrainConfig
from bert_lightning.config.affects import Option, options
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.limits import kinds, problem
from bert_lightning.errors import UserError

CONF = Path(__file__).parents[2] / "conf"


def section_of(run: type[RunConfig], name: str) -> tuple[type[Any], str]:
    """The dataclass of an option, and its name there."""
    section: Any = run
    *groups, own = name.split(".")
    for group in groups:
        section = get_type_hints(section)[group]
    return section, own


def _groups(section: Any) -> list[Any]:
    found = [hint for hint in get_type_hints(section).values() if is_dataclass(hint)]
    return [*found, *(inner for group in found for inner in _groups(group))]


SHARED = {*_groups(TrainConfig)} & {*_groups(FinetuneConfig)}
"""The dataclasses that both kinds of run have."""
CASES = [
    pytest.param(run, option, id=f"{command}-{option.name}")
    for command, run in (("train", TrainConfig), ("finetune", FinetuneConfig))
    for option in options(run)
    if run is TrainConfig or section_of(run, option.name)[0] not in SHARED
]


@pytest.mark.parametrize(("run", "option"), CASES)
def test_every_option_refuses_what_it_does_not_take(run: type[RunConfig], option: Option) -> None:
    section, name = section_of(run, option.name)
    for value in refused(option):
        with pytest.raises(UserError) as error:
            section(**{name: value})
        message = str(error.value)
        assert message.startswith(f"{option.name}="), message
        assert any(word in message for word in ("expects", "must be", "is not one of", "is empty"))


@pytest.mark.parametrize("option", [case.values[1] for case in CASES], ids=[c.id for c in CASES])
def test_every_option_takes_the_values_at_its_limits(option: Option) -> None:
    for value in taken(option):
        assert not problem(value, option.hint, option.limits)


def test_the_options_of_a_phase_are_checked_too() -> None:
    for option in options(PhaseConfig):
        for value in refused(option):
            with pytest.raises(UserError, match=rf"^batch\.phases\[0\]\.{option.name}="):
                BatchConfig(phases=[PhaseConfig(**{"fraction": 1.0, option.name: value})])


@pytest.mark.parametrize("run", [TrainConfig, FinetuneConfig])
def test_every_section_checks_its_options(run: type[RunConfig]) -> None:
    sections = {section_of(run, option.name)[0] for option in options(run)}
    assert len(sections) == 1 + sum(is_dataclass(kind) for kind in _groups(run))


@pytest.mark.slow
@pytest.mark.parametrize(("run", "option"), CASES)
def test_the_command_line_refuses_it_too(run: type[RunConfig], option: Option) -> None:
    """But for what is a text as it stands, and a number that OmegaConf makes true or false."""
    command = "train" if run is TrainConfig else "finetune"
    of = kinds(option.hint)
    converts = bool in of or (str in of and not option.limits.words)
    values = [value for value in refused(option) if not isinstance(value, bytes)]
    given = [value for value in values if not (converts and isinstance(value, int | float))]
    if str in of and not option.limits.words:
        given = [value for value in given if isinstance(value, str | None)]
    for value in [*given[:1], *given[-1:]]:
        with pytest.raises(UserError) as error:
            cli.compose_for_script(CONF, [f"{option.name}={written(value)}"], command)
        assert option.name in str(error.value)
