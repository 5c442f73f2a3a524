"""What a search varies: Hydra's grammar as distributions, and mistakes in it."""

import pytest

pytest.importorskip("optuna", reason="a search needs Optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bert_lightning.cli.schema import use
from bert_lightning.cli.search.proposals import propose
from bert_lightning.cli.search.settings import SearchConfig, check_settings
from bert_lightning.cli.search.space import Space, read_space, readable_value
from bert_lightning.errors import UserError


@pytest.fixture(autouse=True)
def pretraining() -> None:
    use("train")


def space_of(*arguments: str, **params: str) -> Space:
    return read_space(params, arguments, None)  # type: ignore[arg-type]  # no config group is read


@pytest.mark.parametrize(
    ("parameter", "distribution"),
    [
        ("optim.lr=interval(1e-4,1e-2)", FloatDistribution(1e-4, 1e-2)),
        ("optim.lr=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("optim.warmup_steps=interval(2,9)", IntDistribution(2, 9)),  # as the option's type
        ("optim.beta2=int(interval(2,9))", IntDistribution(2, 9)),
        ("optim.warmup_steps=tag(log,int(interval(2,9)))", IntDistribution(2, 9, log=True)),
        ("optim.warmup_steps=range(1,8,3)", IntDistribution(1, 7, step=3)),
        ("optim.warmup_steps=range(8,1,-3)", IntDistribution(2, 8, step=3)),
        (
            "optim.beta2=range(0.9,1.0,0.03)",
            CategoricalDistribution(["0.9", "0.93", "0.96", "0.99"]),
        ),
        ("optim=choice(muon,adamw)", CategoricalDistribution(["muon", "adamw"])),
        ("test=true,false", CategoricalDistribution(["True", "False"])),
    ],
)
def test_the_grammar(parameter: str, distribution: object) -> None:
    assert [*space_of(parameter).distributions.values()] == [distribution]


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("optim.lr=interval(1e-2,1e-4)", "0.01 must be below 0.0001"),
        ("optim.lr=interval(1,1)", "1 must be below 1"),
        ("optim.lr=tag(log,interval(0,1))", "must begin above 0, such as at 0.001"),
        ("optim.lr=tag(lin,interval(0,1))", "the one tag is log, and not lin"),
        ("optim.warmup_steps=interval(1,2.5)", "is an integer, and so are its limits"),
        ("optim.warmup_steps=range(5,1)", "is empty"),
        ("optim.lr=1", "a search needs a parameter"),
    ],
)
def test_mistakes(parameter: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        space_of(parameter)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials=0 must be at least 1"),
        ({"jobs": 0}, "hydra.sweeper.jobs=0 must be at least 1"),
        ({"reduction_factor": 1}, "reduction_factor=1 must be at least 2"),
        ({"sampler": "tpr"}, "sampler=tpr: choose from tpe, random; did you mean 'tpe'"),
        ({"pruner": "median"}, "pruner=median: choose from successive_halving, none"),
        ({"direction": "down"}, "direction=down: choose from minimize, maximize"),
    ],
)
def test_mistakes_in_the_settings(setting: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_settings(SearchConfig(**setting))  # type: ignore[arg-type]


def test_the_command_line_outdoes_the_params() -> None:
    space = space_of(
        "optim.lr=0.1", "seed=3", **{"optim.lr": "interval(0,1)", "test": "true,false"}
    )
    assert [*space.distributions] == ["test"]
    assert space.fixed == ["optim.lr=0.1", "seed=3"]
    assert space.outdone == ["optim.lr=0.1"]


def test_corners_have_each_choice_and_both_ends() -> None:
    space = space_of("optim=choice(muon,adamw,adam)", "optim.lr=interval(0.1,0.2)")
    assert [[*corner.values()] for corner in space.corners()] == [
        ["muon", 0.1], ["adamw", 0.2], ["adam", 0.1],
    ]  # fmt: skip


def test_numbers_have_few_figures_and_keep_their_limits() -> None:
    distribution = FloatDistribution(0.12344, 1)
    assert readable_value(0.2222222, distribution) == 0.2222
    assert readable_value(0.123441, distribution) == 0.12344


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_was_tried_is_proposed_no_more(sampler: str) -> None:
    from bert_lightning.cli.search.journal import SearchTrial, State

    space = space_of("optim=choice(muon,adamw,adam)", "seed=range(0,2)")
    trials: list[SearchTrial] = []
    while (values := propose(SearchConfig(sampler=sampler), space, True, trials)) is not None:
        scores = [(5, 1.0)]
        new = SearchTrial(len(trials), "", values, State.paused, scores, 0, 1.0, None, "")
        trials.append(new)
    assert len({repr(trial.values) for trial in trials}) == space.size == 6
