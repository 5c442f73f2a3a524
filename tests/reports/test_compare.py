"""Runs beside each other: which are ranked, how, and what is said of those that are not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bert_lightning.cli.commands import evaluation
from bert_lightning.cli.parsers import parse
from bert_lightning.config import ObjectiveConfig, OptimConfig, TrainConfig, TrainerConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.plain import to_plain
from bert_lightning.errors import UserError
from bert_lightning.reports.comparison.found import find_runs, read_found
from bert_lightning.reports.comparison.metric import check_name, lower_is_better, value_of
from bert_lightning.reports.comparison.options import changed_options, config_hash, plain_options
from bert_lightning.reports.comparison.ranking import compare
from bert_lightning.reports.comparison.table import as_json, lines
from bert_lightning.runs.folder import write_config

BASE = TrainConfig(trainer=TrainerConfig(max_steps=60))
Table = Callable[..., list[str]]


def leave(
    folder: Path, loss: float, config: TrainConfig | FinetuneConfig = BASE, **more: Any
) -> Path:
    """Leaves the folder of a complete run with this validation loss."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "step=000060.ckpt").touch()
    write_config(replace(config, run_dir=str(folder)))
    scores = {"loss": loss, "mlm_loss": loss - 0.5, "nsp_accuracy": 0.6}
    summary = {
        "corpus": "builtin",
        "corpus_key": "abc",
        "steps": 60,
        "validation": scores,
        "loaded": {"step": 60, "validation": scores},
        "evaluation_set_sha256": "1234567890",
        "config_hash": config_hash(plain_options(config), type(config)),
        **more,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.csv").write_text(f"step,train/lr,val/loss\n30,0.1,{loss + 1}\n60,,{loss}\n")
    return folder


def rate(lr: float, seed: int = 0) -> TrainConfig:
    return replace(BASE, optim=OptimConfig(lr=lr), seed=seed)


def table(*folders: Path, metric: str | None = None) -> list[str]:
    return list(lines(compare(find_runs(folders), metric)))


def row(shown: list[str], start: str) -> list[str]:
    (line,) = [line for line in shown if line.startswith(start)]
    return line.split()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two rates with two seeds each; the higher one is better."""
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        leave(Path("sweep", f"lr=0.003,seed={seed}"), 5.0 + 0.2 * seed, rate(0.003, seed))
        leave(Path("sweep", f"lr=0.005,seed={seed}"), 4.0 + 0.2 * seed, rate(0.005, seed))
    notes = [
        {
            "trial": n,
            "folder": folder.name,
            "options": folder.name.replace("lr", "optim.lr").split(","),
            "exit_code": 0,
        }
        for n, folder in enumerate(sorted(Path("sweep").iterdir()))
    ]
    Path("sweep", "trials.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    return Path("sweep")


def test_seeds_make_one_row_with_mean_and_standard_deviation_the_best_first(sweep: Path) -> None:
    shown = table(sweep)
    assert shown[1] == "4 runs by val/loss, the lowest first; evaluation set 12345678"
    header, first, second = shown[2].splitlines()
    assert header == "optim.lr    val/loss ± sd  seeds  val/mlm_loss  val/nsp_accuracy"
    assert first.split() == ["0.005", "4.1000", "±", "0.1414", "2", "3.6000", "0.6000"]
    assert second.split()[:4] == ["0.003", "5.1000", "±", "0.1414"]
    assert "best        sweep/lr=0.005,seed=0" in shown
    (load,) = [line for line in shown if line.startswith("load ")]
    assert load.endswith('fill-mask sweep/lr=0.005,seed=0 "the [MASK] is new"')
    assert max(len(line) for text in shown[:-2] for line in text.splitlines()) <= 80


def test_another_metric_ranks_and_higher_may_be_better(sweep: Path) -> None:
    shown = table(sweep, metric="val/nsp_accuracy")
    assert "by val/nsp_accuracy, the highest first" in shown[1]
    with pytest.raises(UserError, match=r"optimized_metric=val/los is not logged.*'val/loss'"):
        table(sweep, metric="val/los")


def test_a_run_of_ones_own_choice_is_ranked_by_the_metric_that_it_names(tmp_path: Path) -> None:
    leave(tmp_path / "a", 4.0, replace(BASE, optimized_metric="val/mlm_loss"))
    assert "1 run by val/mlm_loss, the lowest first" in table(tmp_path)[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: (run / "summary.json").unlink(), "unfinished, at step 60"),
        (lambda run: (run / "summary.json").write_text("{"), "corrupted: summary.json cannot be"),
        (lambda run: (run / "run.json").write_text("[]"), "corrupted: run.json holds a list"),
        (lambda run: (run / "run.json").unlink(), "corrupted: it has no run.json"),
        (lambda run: (run / "metrics.csv").write_text("step,a\nx,1\n"), "corrupted: invalid lit"),
        (
            lambda run: (run / "metrics.csv").write_text("step,train/lr\n90,0.1\n"),
            "resumed beyond step 60, and not to its end: at step 90",
        ),
        (
            lambda run: write_config(replace(rate(7.0), run_dir=str(run))),
            "resumed with other options, and not to its end",
        ),
    ],
)
def test_what_is_no_complete_run_is_said_and_not_ranked(
    sweep: Path, change: Callable[[Path], Any], says: str
) -> None:
    change(sweep / "lr=0.003,seed=1")
    shown = table(sweep)
    assert shown[1].startswith("3 runs by ")
    (line,) = [line for line in shown if line.startswith("not ranked")]
    assert line.startswith("not ranked  lr=0.003,seed=1: ")
    assert says in " ".join(" ".join(shown).split())


def test_a_trial_that_failed_was_stopped_or_never_began_is_said(sweep: Path) -> None:
    for name, code in {"lr=0.003,seed=0": 2, "lr=0.003,seed=1": 143, "none": None}.items():
        (sweep / name / ".hydra").mkdir(parents=True)
        with (sweep / "trials.jsonl").open("a") as file:
            end = {} if code is None else {"exit_code": code}
            file.write(json.dumps({"trial": 9, "folder": name, "options": [], **end}) + "\n")
    (sweep / "lr=0.005,seed=1" / "summary.json").unlink()
    (sweep / "none" / ".hydra").rmdir()
    with (sweep / "trials.jsonl").open("a") as file:
        file.write('["another\'s"]\n{"trial": 7, "fold')  # the sweep was killed
    shown = " ".join(" ".join(table(sweep)).split())
    assert "lr=0.003,seed=0: failed, exit code 2, at step 60" in shown
    assert "lr=0.003,seed=1: stopped, exit code 143, at step 60" in shown
    assert "lr=0.005,seed=1: unfinished, at step 60" in shown
    assert "none: never began to train" in shown
    assert "optim.lr val/loss val/mlm_loss val/nsp_accuracy 0.005 4.0000" in shown


def test_a_run_that_is_at_work_is_said(tmp_path: Path) -> None:
    folder = leave(tmp_path / "run", 4.0)
    (folder / ".lock.json").write_text("{}")
    assert read_found(folder).problem == ""  # its process was killed
    with FileLock(folder / ".lock"):
        assert read_found(folder).problem == "still running, at step 60"


def test_a_loss_that_is_not_finite_is_not_ranked(sweep: Path) -> None:
    leave(sweep / "lr=9", float("nan"), rate(9))
    leave(sweep / "lr=8", 1.0, rate(8), validation={}, loaded={"step": 1}, steps=60)
    (sweep / "lr=8" / "metrics.csv").unlink()
    shown = table(sweep)
    assert "not ranked  lr=9: has no val/loss" in shown
    assert "not ranked  lr=8: has no val/loss" in shown


def test_other_evaluation_sets_have_tables_of_their_own(sweep: Path) -> None:
    leave(sweep / "other", 1.0, rate(0.1), evaluation_set_sha256="ffffffffff", corpus="mine")
    shown = table(sweep)
    assert "2 evaluation sets: scores compare within a table" in " ".join(shown)
    assert [line.partition("; ")[2] for line in shown if " by val/loss" in line] == [
        "evaluation set 12345678",
        "evaluation set ffffffff",
    ]


def test_what_makes_a_comparison_unfair_is_said(tmp_path: Path) -> None:
    leave(tmp_path / "a", 4.0, replace(BASE, objective=ObjectiveConfig(nsp_weight=0.5)))
    leave(tmp_path / "b", 4.1, BASE, corpus_key="other", corpus="mine", steps=50, early_end="stop")
    (tmp_path / "b" / "metrics.csv").write_text("step,val/loss\n50,4.1\n")
    shown = " ".join(" ".join(table(tmp_path)).split())
    assert "val/loss is weighted by objective.nsp_weight, which differ" in shown
    assert "they were trained on different corpora (builtin, mine)" in shown
    assert "they have different numbers of steps (50, 60)" in shown
    assert "b ended early, at step 50: stop" in shown


def test_many_options_fit_into_80_columns_and_those_left_out_are_named(tmp_path: Path) -> None:
    for place in range(3):
        optim = OptimConfig(
            lr=0.1 + place, beta1=0.5 + place / 10, weight_decay=place / 3, warmup_steps=place
        )
        config = replace(BASE, optim=optim, init_from=f"{'x' * 60}{place}")
        leave(tmp_path / f"run {place}", 4.0 + place, config)
    shown = table(tmp_path)
    grid = shown[2].splitlines()
    assert max(map(len, grid)) <= 80
    (said,) = [line for line in shown if line.startswith("left out")]
    missing = [
        name
        for name in (
            "optim.lr",
            "optim.beta1",
            "optim.weight_decay",
            "init_from",
            "optim.warmup_steps",
        )
        if name not in grid[0]
    ]
    text = " ".join(" ".join(shown[3:]).split())
    assert missing
    assert all(name in text for name in missing)
    found = as_json(compare(find_runs([tmp_path])))["tables"][0]
    assert set(missing) < set(found["rows"][0]["options"])
    assert said


def test_a_group_of_options_is_one_column(tmp_path: Path) -> None:
    """What `model=tiny,mini` sets is no column, unless the sweep varies it as well."""
    notes = []
    for place, size in enumerate(("tiny", "mini")):
        model = replace(BASE.model, hidden_size=128 * (place + 1), intermediate_size=64 + place)
        name = f"model={size}"
        leave(tmp_path / name, 4.0 + place, replace(BASE, model=model))
        options = [name, f"model.intermediate_size={64 + place}"]
        notes.append(json.dumps({"trial": place, "folder": name, "options": options}))
    (tmp_path / "trials.jsonl").write_text("\n".join(notes) + "\n")
    (found,) = compare(find_runs([tmp_path])).rankings
    assert found.options == ["model", "model.intermediate_size"]
    assert found.rows[0].values["model"] == "tiny"


def test_fine_tuning_is_ranked_by_validation_and_shows_the_test_score(tmp_path: Path) -> None:
    for place, (valid, test) in enumerate([(0.7, 0.9), (0.8, 0.6)]):
        config = FinetuneConfig(optim=replace(FinetuneConfig().optim, lr=0.1 + place))
        scores = {"validation": {"accuracy": valid}, "test": {"accuracy": test}, "task": "text"}
        leave(tmp_path / str(place), 0, config, loaded=scores, **scores)
        other = replace(config, seed=5, trainer=TrainerConfig(max_steps=60))
        seed = tmp_path / str(place) / "study" / "seed=5"
        scores["validation"] = {"accuracy": valid + 0.1}
        leave(seed, 0, other, loaded=scores, **scores)
        leave(seed.parent / "random_weights" / "seed=0", 0, config, loaded=scores, **scores)
    shown = table(tmp_path)
    assert shown[1].startswith("4 runs by val/accuracy, the highest first; evaluation set")
    assert shown[1].endswith(", task text")
    assert row(shown[2].splitlines(), "1")[1:6] == ["1.1", "0.8500", "±", "0.0707", "2"]
    assert shown[2].splitlines()[0].endswith("test/accuracy")


@pytest.mark.usefixtures("sweep")
def test_the_command_prints_json_draws_curves_and_takes_patterns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluation.comparison(parse("compare", ["sweep/lr=0.005*", "--json", "--plot", "c.png"]))
    found = json.loads(capsys.readouterr().out)
    (only,) = found["tables"]
    assert [run["seed"] for run in only["rows"][0]["runs"]] == [0, 1]
    assert only["lower_is_better"]
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="c.png cannot be written"):
        evaluation.comparison(parse("compare", ["sweep", "--plot", "absent/c.png"]))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path])
    with pytest.raises(UserError, match="does not exist"):
        find_runs([tmp_path / "absent"])


@pytest.mark.parametrize("name", ["loss", "valid/loss", "val/", "val/a b"])
def test_a_metric_that_cannot_be_logged_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"optimized_metric={name}: expects the name of a curve"):
        check_name(name, tests=True)


def test_a_test_score_needs_the_test_split() -> None:
    check_name("test/loss", tests=True)
    with pytest.raises(UserError, match="add test=true"):
        check_name("test/loss", tests=False)


def test_the_value_of_a_metric_is_that_of_the_model_that_is_loaded() -> None:
    summary = {
        "steps": 9,
        "validation": {"loss": 3.0},
        "loaded": {"step": 6, "validation": {"loss": 2.0}},
    }
    curves = {
        "val/loss": [(6, 2.0), (9, 3.0)],
        "train/loss": [(6, 1.0), (9, 0.5)],
        "speed/x": [(9, 7.0)],
    }
    assert value_of("val/loss", summary, curves) == 2.0
    assert value_of("train/loss", summary, curves) == 1.0
    assert value_of("speed/x", summary, curves) == 7.0
    assert [name for name in ("val/loss", "val/accuracy", "val/rmse") if lower_is_better(name)] == [
        "val/loss",
        "val/rmse",
    ]


def test_the_changed_options_are_those_that_differ_from_the_defaults() -> None:
    assert changed_options(replace(rate(0.1), run_dir="x", resume="auto")) == {
        "optim.lr": 0.1,
        "trainer.max_steps": 60,
    }
    assert changed_options(TrainConfig()) == {}
    assert to_plain(plain_options(BASE)["trainer.max_steps"]) == 60
