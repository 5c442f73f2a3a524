"""What a command line implies: the folder of a run, and the options that it has."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bert_lightning.cli import app as cli
from bert_lightning.cli.implied_options import completed
from bert_lightning.config import TrainConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.errors import UserError
from bert_lightning.runs.folder import write_config

CONF = Path(__file__).parents[2] / "conf"
PROCESSES = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"),
    *("SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT"),
)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in PROCESSES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def saved(config: TrainConfig, run: Path) -> Path:
    run.mkdir(exist_ok=True)
    write_config(replace(config, run_dir=str(run)))
    return run


def composed(arguments: list[str]) -> TrainConfig:
    plain = [argument for argument in arguments if not argument.startswith("hydra.")]
    return cli.compose(CONF, ["run_dir=x", *plain])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["model=small", "data=text", 'data.path=it\'s/a "path".txt', "seed=null"],
        ["experiment=textbook", "logger=none", "arch=modern", "trainer.devices=[0,1]"],
        ["pairs=none", "tokenizer=wordpiece", "logger=csv", "trainer.max_epochs=1.5"],
        ["batch.phases=[{fraction: 0.9, max_length: 64}, {fraction: 0.1, global_batch_size: 8}]"],
    ],
)
def test_a_resumed_run_has_the_config_of_the_run(tmp_path: Path, options: list[str]) -> None:
    options = [option.replace("it's", "it\\'s") for option in options]
    options = [
        f"{option.partition('=')[0]}='{option.partition('=')[2]}'" if "\\'" in option else option
        for option in options
    ]
    config = composed(options)
    run = saved(config, tmp_path / "a run")
    arguments = completed([f"resume={run}"])
    assert arguments[0] == f"resume={run}"
    assert f"hydra.run.dir='{run}'" in arguments
    assert composed(arguments) == replace(config, resume=str(run))
    # The processes of other devices are started with these arguments, and come to the same.
    assert composed(completed(arguments)) == composed(arguments)


def test_what_is_given_anew_counts_more(tmp_path: Path) -> None:
    run = saved(composed(["optim.lr=0.5", "optim.warmup_steps=3", "seed=7"]), tmp_path / "run")
    config = composed(completed([f"resume={run}", "optim.lr=0.25", "trainer.devices=2"]))
    assert (config.optim.lr, config.optim.warmup_steps, config.seed) == (0.25, 3, 7)
    assert config.trainer.devices == 2
    whole_group = composed(completed([f"resume={run}", "optim=adam"]))
    assert whole_group.optim.warmup_steps == 0
    assert whole_group.seed == 7


def test_auto_finds_the_folder_of_the_same_command() -> None:
    (added,) = completed(["resume=auto", "model=tiny"])[2:]
    assert added.startswith("hydra.run.dir=runs/run_")
    assert completed(["model=tiny", "resume=auto"])[2:] == [added]
    assert completed(["resume=auto", "model=mini"])[2:] != [added]
    given = ["resume=auto", "hydra.run.dir=here"]
    assert completed(given) == given
    (sweep,) = completed(["-m", "resume=auto", "model=tiny,mini"])[3:]
    assert sweep.startswith("hydra.sweep.dir=runs/sweep_")


def test_hydra_writes_nothing_over_a_run(tmp_path: Path) -> None:
    run = saved(composed([]), tmp_path / "run")
    for arguments in ([f"resume={run}"], [f"hydra.run.dir={run}"]):
        assert "hydra.output_subdir=null" in completed(arguments)
    assert completed(["hydra.run.dir=new"]) == ["hydra.run.dir=new"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["resume=absent"],
            "no folder .*absent; give the folder of a run, or resume=auto",
        ),
        (["resume=empty"], r"empty/run.json cannot be read"),
        (["resume=https://a.b/c"], "is a URL"),
        (["-m", "resume=run", "seed=1,2"], "a sweep resumes with resume=auto"),
        (["resume=run", "hydra.run.dir=other"], "omit hydra.run.dir=other"),
    ],
)
def test_what_names_no_run_is_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "empty").mkdir()
    saved(composed([]), tmp_path / "run")
    with pytest.raises(UserError, match=says):
        completed(arguments)


def test_processes_of_torchrun_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def arguments(rank: int, port: int) -> list[str]:
        for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("MASTER_PORT", port)):
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        return completed(["model=tiny"])

    first, second, other = arguments(0, 1234), arguments(1, 1234), arguments(0, 1235)
    assert first[1] == second[1] != other[1]
    assert first[1].startswith("hydra.run.dir=runs/run_")
    assert len(first) == 2
    assert second[2:] == ["hydra.output_subdir=null", "hydra.job.name=train_rank_1"]


def test_the_config_of_a_run_is_json_for_people_too(tmp_path: Path) -> None:
    config = composed(["model=mini"])
    run = saved(config, tmp_path / "run")
    written = json.loads((run / "run.json").read_text())
    assert written == to_plain(asdict(replace(config, run_dir=str(run))))
