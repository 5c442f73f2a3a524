"""Which option is meant by a name that none has."""

import pytest

from bert_lightning.cli.explain import _ELSEWHERE, unknown_option
from bert_lightning.config import TrainConfig
from bert_lightning.config.affects import Option, options


def test_names_of_other_programs_stand_for_options_and_hide_none() -> None:
    groups = {name.partition(".")[0] for name in (option.name for option in options(TrainConfig))}
    names = {option.name for option in options(TrainConfig)}
    assert set(_ELSEWHERE.values()) <= names | groups
    assert not _ELSEWHERE.keys() & (names | groups)


@pytest.mark.parametrize("option", [*options(TrainConfig)], ids=lambda option: option.name)
def test_every_option_is_found_by_its_last_name_and_by_a_misspelling(option: Option) -> None:
    leaf = option.name.rpartition(".")[2]
    if leaf != option.name:
        assert leaf in unknown_option(leaf).partition("did you mean")[2]
    misspelled = f"{option.name[:-1]}{'y' if option.name[-1] != 'y' else 'i'}"
    assert "did you mean" in unknown_option(misspelled)
