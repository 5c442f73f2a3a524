"""Which runs a study has, and what it makes of their records: by hand, without any training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_lightning.cli.many_runs.study import _steps_in
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import LabelledBatchConfig, LabelledConfig, TaskConfig, TaskKind
from bert_lightning.errors import UserError
from bert_lightning.finetuning.scoring.records import (
    Record,
    is_complete,
    read_record,
    write_predictions,
)
from bert_lightning.finetuning.scoring.results import results
from bert_lightning.finetuning.study import (
    StudyRun,
    config_of,
    curve_sizes,
    differences,
    runs_of,
    steps_of,
)
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.pictures.labels import learning_curve_figure
from bert_lightning.reports.study_report import report

FIRST = {"seed": 7, "classes": 2, "examples": {"train": 900, "test": 40}, "steps": 1000}
LABELS = np.arange(40) % 2


def config(**options: Any) -> FinetuneConfig:
    made = FinetuneConfig(batch=LabelledBatchConfig(global_batch_size=8), seed=7, **options)
    return replace(made, optim=replace(made.optim, lr=1e-3, warmup_steps=100))


class TestRuns:
    def test_a_run_alone_and_its_twin(self) -> None:
        assert runs_of(config(baselines=False), FIRST) == [StudyRun(7, False)]
        assert runs_of(config(), FIRST) == [StudyRun(7, False), StudyRun(7, True)]
        assert runs_of(config(random_weights=True), FIRST) == [StudyRun(7, True)]

    @pytest.mark.parametrize("options", [{}, {"baselines": False}, {"random_weights": True}])
    @pytest.mark.parametrize("seeds", [1, 2])
    @pytest.mark.parametrize("curve", [False, True])
    def test_there_are_more_runs_where_the_options_say_so(
        self, options: dict[str, bool], seeds: int, curve: bool
    ) -> None:
        made = config(seeds=seeds, learning_curve=curve, **options)
        assert made.has_more_runs == (len(runs_of(made, FIRST)) > 1)

    def test_each_has_a_folder_of_its_own_two_levels_below_the_study(self) -> None:
        """`load` finds runs one and two levels down: it must not take one of these."""
        runs = runs_of(config(seeds=3, learning_curve=True), FIRST)
        folders = {run.folder for run in runs}
        assert len(folders) == len(runs) == 3 * 2 * 5
        assert all(len((Path("runs-are-in") / folder).parts) >= 3 for folder in folders)
        assert len({run.title for run in runs}) == len(runs)

    def test_a_learning_curve_has_enough_examples_of_each_class(self) -> None:
        text = config()
        assert curve_sizes(text, 900, 2) == [300, 100, 33, 11]
        assert curve_sizes(text, 900, 40) == [300, 100]
        number = replace(text, task=TaskConfig(kind=TaskKind.number))
        assert curve_sizes(number, 900, 1) == [300, 100, 33, 11]

    def test_it_varies_what_examples_per_class_fixes(self) -> None:
        with pytest.raises(UserError, match="learning_curve=true varies it: omit one of them"):
            config(learning_curve=True, data=LabelledConfig(examples_per_class=8))

    def test_no_run_starts_further_ones(self) -> None:
        study = config(seeds=3, learning_curve=True)
        for run in runs_of(study, FIRST)[1:]:
            own = config_of(study, run, FIRST)
            assert not own.has_more_runs
            assert (own.seed, own.random_weights) == (run.seed, run.random_weights)
            assert own.baselines == run.random_weights  # once a seed

    def test_few_examples_get_steps_enough_and_the_same_part_of_warmup(self) -> None:
        study = config(learning_curve=True)
        for examples, steps in ((300, 333), (100, 200), (11, 200)):
            own = config_of(study, StudyRun(7, False, examples), FIRST)
            assert own.data.train_examples == examples
            assert (own.trainer.max_epochs, own.trainer.max_steps) == (None, steps)
            assert own.optim.warmup_steps == round(steps / 10)
            assert steps_of(own, FIRST) == steps
        short = {**FIRST, "steps": 60}
        assert config_of(study, StudyRun(7, False, 11), short).trainer.max_steps == 60
        assert steps_of(config_of(study, StudyRun(8, False), FIRST), FIRST) == 1000

    def test_what_a_complete_run_learned_by_is_compared(self) -> None:
        done = config()
        assert differences(replace(done, seeds=5, run_dir="elsewhere"), done) == []
        assert differences(replace(done, seed=8), done) == ["seed=7"]
        other = replace(done, optim=replace(done.optim, lr=1e-4))
        assert differences(other, done) == ["optim.lr=0.001"]
        assert differences(replace(done, optim=replace(done.optim, lr=None)), done) == []


def record(predicted: np.ndarray, **more: Any) -> Record:
    names, sizes = ["no", "yes"], np.ones(len(LABELS), int)
    summary = {
        "task": "text",
        "test": task_of(TaskKind.text).scores(predicted, LABELS, names, sizes),
        "init_from": "runs/first",
        "random_weights": False,
        "data": "train.csv",
        "data_key": "same",
        "config_hash": "0",
        "machine": {},
        "examples": FIRST["examples"],
        **more,
    }
    baselines = {"majority": np.zeros(len(LABELS), int)}
    return Record(summary, predicted, LABELS, sizes, names, baselines)


def wrong_in(*places: int) -> np.ndarray:
    predicted = LABELS.copy()
    predicted[list(places)] = 1 - predicted[list(places)]
    return predicted


@pytest.fixture
def records() -> dict[StudyRun, Record]:
    """Two seeds: 4 and 8 of 40 wrong; from random weights 12 wrong, and a constant."""
    return {
        StudyRun(0, False): record(wrong_in(*range(4))),
        StudyRun(0, True): record(wrong_in(*range(12))),
        StudyRun(1, False): record(wrong_in(*range(8))),
        StudyRun(1, True): record(np.ones(40, int)),
    }


class TestResults:
    def test_every_model_has_its_spread_and_what_this_one_gains_over_it(
        self, records: dict[StudyRun, Record]
    ) -> None:
        found = results(records)
        assert (found["score"], found["seeds"]) == ("accuracy", [0, 1])
        ours, random, majority = found["rows"]
        assert [row["model"] for row in found["rows"]] == [
            "this model",
            "random weights",
            "majority",
        ]
        spread = ours["scores"]["accuracy"]
        assert spread["scores"] == pytest.approx([0.9, 0.8])
        assert spread["mean"] == pytest.approx(0.85)
        assert spread["deviation"] == pytest.approx(0.05 * 2**0.5)
        assert spread["worst"] == pytest.approx(0.8)
        assert random["scores"]["accuracy"]["scores"] == pytest.approx([0.7, 0.5])
        assert (ours["degenerate"], random["degenerate"], majority["degenerate"]) == (0, 1, 2)
        assert "gain" not in ours
        assert random["gain"]["mean"] == pytest.approx((0.2 + 0.3) / 2)
        assert majority["gain"]["mean"] == pytest.approx((0.4 + 0.3) / 2)
        assert 0 < random["gain"]["low"] < 0.25 < random["gain"]["high"] < 0.5

    def test_the_interval_is_of_pairs_of_the_same_seed(self) -> None:
        """Seeds that differ among each other, but not from their twins, leave no doubt."""
        twins = {0: wrong_in(), 1: wrong_in(*range(20))}
        records = {
            StudyRun(seed, weights): record(predicted)
            for seed, predicted in twins.items()
            for weights in (False, True)
        }
        assert results(records)["rows"][1]["gain"] == {"mean": 0, "low": 0, "high": 0}

    def test_a_learning_curve_has_all_rows_at_each_size(
        self, records: dict[StudyRun, Record]
    ) -> None:
        fewer = {replace(run, examples=100): made for run, made in records.items()}
        found = results({**records, **fewer})
        curve = found["learning_curve"]
        assert [point["examples"] for point in curve] == [100, 900]
        assert curve[0]["rows"] == curve[1]["rows"] == found["rows"]
        (axes,) = learning_curve_figure(found).axes
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["pretrained", "random weights", "majority"]
        lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
        assert np.allclose(lines["pretrained"], [[100, 0.85], [900, 0.85]])
        bands = [band.get_paths()[0].vertices for band in axes.collections]
        assert np.allclose([bands[0][:, 1].min(), bands[0][:, 1].max()], [0.8, 0.9])

    def test_without_random_weights_only_one_seed_has_baselines(self) -> None:
        bare = replace(record(wrong_in(1)), baselines={})
        found = results({StudyRun(0, False): record(wrong_in()), StudyRun(1, False): bare})
        assert [row["seeds"] for row in found["rows"]] == [[0, 1], [0]]

    @pytest.mark.parametrize(
        "changed",
        [record(wrong_in(), data_key="other"), replace(record(wrong_in()), labels=1 - LABELS)],
    )
    def test_runs_of_other_data_are_not_compared(
        self, records: dict[StudyRun, Record], changed: Record
    ) -> None:
        with pytest.raises(UserError, match=r"data has changed .* seed 1, random weights") as error:
            results({**records, StudyRun(1, True): changed})
        assert str(StudyRun(1, True).folder) in str(error.value)


class TestReport:
    @pytest.mark.slow
    def test_it_fits_a_terminal_and_writes_every_number(
        self, records: dict[StudyRun, Record], tmp_path: Path
    ) -> None:
        fewer = {replace(run, examples=100): made for run, made in records.items()}
        lines = report(tmp_path, {**records, **fewer}).splitlines()
        assert max(map(len, lines[:-2])) <= 80  # the last two have the folder
        assert "this model      0.850 ± 0.071  0.800" in lines
        assert any(
            line.startswith("random weights  0.600 ± 0.141  0.500  +0.250") for line in lines
        )
        assert "degenerate: random weights, 1 of 2 runs predict the same for every example" in lines
        assert json.loads((tmp_path / "results.json").read_text()) == results({**records, **fewer})
        assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")

    def test_of_one_seed_there_is_no_deviation(
        self, records: dict[StudyRun, Record], tmp_path: Path
    ) -> None:
        one = {run: made for run, made in records.items() if run.seed == 0}
        text = report(tmp_path, one)
        assert "±" not in text
        assert "seeds=5 adds other seeds" in text
        assert not (tmp_path / "results.png").exists()


@pytest.mark.parametrize("numbers", [LABELS, LABELS.astype(np.float32) / 3])
def test_predictions_are_read_back_exactly(tmp_path: Path, numbers: np.ndarray) -> None:
    written = replace(
        record(LABELS), predicted=numbers, names=[] if numbers.dtype.kind == "f" else ["日", "x"]
    )
    assert not is_complete(tmp_path)
    write_predictions(tmp_path, written)
    assert not is_complete(tmp_path)  # the summary says that it is
    (tmp_path / "summary.json").write_text(json.dumps(written.summary))
    assert is_complete(tmp_path)
    found = read_record(tmp_path)
    assert found.predicted.dtype == numbers.dtype
    for name in ("predicted", "labels", "sizes"):
        assert np.array_equal(getattr(found, name), getattr(written, name))
    assert (found.names, found.summary) == (written.names, written.summary)
    assert np.array_equal(found.baselines["majority"], written.baselines["majority"])


def test_a_run_of_a_study_is_as_far_as_its_last_whole_row(tmp_path: Path) -> None:
    assert _steps_in(tmp_path) == 0
    rows = "step,train/loss,val/loss\n2,1.0,\n4,,2.0\n6,1"
    (tmp_path / "metrics.csv").write_text(rows, encoding="utf-8")
    assert _steps_in(tmp_path) == 4
