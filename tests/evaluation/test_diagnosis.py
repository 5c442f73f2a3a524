"""Each finding on a run that was made up to have it, and a real run."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bert_lightning.errors import UserError
from bert_lightning.runs.checks.check import Check
from bert_lightning.runs.curves import MetricsFile
from bert_lightning.runs.diagnosis import diagnose
from bert_lightning.runs.record import RunRecord, read_run
from bert_lightning.training.fit import FitResult

CapSys = pytest.CaptureFixture[str]
HEALTHY: dict[str, Any] = {
    "corpus": "wikitext103",
    "corpus_origin": "a folder",
    "fallback_reason": None,
    "parameters": 1_000_000,
    "steps": 500,
    "epochs": 4.0,
    "real_tokens": 25_000_000,
    "left_out": [
        {"what": "hidden files", "way_out": "", "count": 1, "examples": [".a"]},
        {
            "what": "paragraphs of fewer than 2 sentences",
            "way_out": "pairs=segment keeps them",
            "count": 30,
            "examples": [],
            "of": 100,
            "characters": 200,
            "of_characters": 1000,
        },
    ],
    "data": {
        "splits": {"train": {"tokens": 6_000_000, "unknown_fraction": 0.05}},
        "labels": {"pairs_read": 10_000, "majority": 0.5, "length_only_accuracy": 0.52},
    },
    "validation_baselines": {"mlm_loss": 6.7, "nsp_loss": 0.693},
}
STEPS = range(10, 501, 10)


def falling(start: float, end: float, steps: Sequence[int] = STEPS) -> list[tuple[int, float]]:
    return [(step, start + (end - start) * step / steps[-1]) for step in steps]


def curves() -> dict[str, list[tuple[int, float]]]:
    """Of a run with nothing wrong."""
    validations = range(100, 501, 100)
    return {
        "train/mlm_loss": falling(9.8, 4.0),
        "train/nsp_loss": falling(0.7, 0.4),
        "val/mlm_loss": falling(9.0, 4.2, validations),
        "val/nsp_loss": falling(0.69, 0.5, validations),
        "val/nsp_accuracy": falling(0.5, 0.8, validations),
        "work/waiting_fraction": falling(0.1, 0.05),
    }


def record(
    summary: dict[str, Any] | None = None, not_finite: int | None = None, **changed: Any
) -> RunRecord:
    found = {**curves(), **{name.replace("_", "/", 1): value for name, value in changed.items()}}
    return RunRecord(Path("run"), {**HEALTHY, **(summary or {})}, found, not_finite)


def found(record: RunRecord) -> dict[str, Check]:
    return {check.name: check for check in diagnose(record) if check.finding is not None}


def test_a_healthy_run_has_no_finding_and_all_is_looked_at() -> None:
    checks = diagnose(record())
    assert [check.name for check in checks] == [
        *(
            "corpus",
            "text left out",
            "unknown tokens",
            "diverged",
            "plateau",
            "overfitting, words",
            "overfitting, pairs",
        ),
        *("NSP head", "epochs", "tokens per parameter", "waiting for data"),
    ]
    assert not found(record())


def test_every_finding_says_what_it_rests_on_the_limit_and_what_to_try() -> None:
    for check in diagnose(record()):
        assert check.measured
        assert check.limit
        assert check.tries


def test_much_of_the_text_is_left_out() -> None:
    hidden, paragraphs = HEALTHY["left_out"]
    more = [hidden, {**paragraphs, "characters": 201}]
    ((name, check),) = found(record({"left_out": more})).items()
    assert (name, check.finding) == ("text left out", "much of the text is left out")
    assert check.measured == "30 paragraphs of fewer than 2 sentences, 20.1% of the text"
    assert check.tries == ("pairs=segment keeps them",)
    assert "text left out" not in [one.name for one in diagnose(record({"left_out": []}))]


@pytest.mark.parametrize("masked", [[], [(500, 0.9)]])
def test_most_tokens_are_unknown(masked: list[tuple[int, float]]) -> None:
    data = {**HEALTHY["data"], "splits": {"train": {"tokens": 1e9, "unknown_fraction": 0.8}}}
    ((name, check),) = found(record({"data": data}, val_mlm_unknown_fraction=masked)).items()
    assert name == "unknown tokens"
    assert check.finding is not None
    assert "the tokenizer does not fit the text" in check.finding
    assert check.measured.startswith("80.0% of the training tokens")
    assert ("90.0% of the masked tokens of validation" in check.measured) == bool(masked)
    assert check.tries[0].startswith("tokenizer=wordpiece")


def test_stuck_at_the_plateau() -> None:
    flat = [(step, 6.72) for step in STEPS]
    ((name, check),) = found(record(train_mlm_loss=flat, val_mlm_loss=[(500, 6.65)])).items()
    assert (name, check.finding) == (
        "plateau",
        "words are predicted no better than by the unigram baseline",
    )
    assert check.measured == "lowest validation MLM loss 6.650, at step 500"
    assert check.limit.startswith("6.600, 0.1 below")
    assert check.numbers == {"best": 6.65, "baseline": 6.7, "fall": pytest.approx(0)}
    assert check.tries[0].startswith("an optim.lr that is 3 times higher")
    assert not found(record(val_mlm_loss=[(500, 6.59)]))


def test_a_loss_that_still_falls_should_train_longer() -> None:
    slope = falling(9.8, 8.6)
    check = found(record(train_mlm_loss=slope, val_mlm_loss=[(500, 8.6)]))["plateau"]
    assert check.finding == "words are predicted worse than by the unigram baseline"
    assert check.tries[0] == (
        "train longer, with a higher trainer.max_steps: it fell by 0.29 nats over the last quarter"
    )
    flat = [(step, 6.72) for step in STEPS]
    short = found(record({"epochs": 0.9}, train_mlm_loss=flat, val_mlm_loss=[(500, 6.7)]))
    assert short["plateau"].tries[0].startswith("train longer, with a higher trainer.max_steps")
    few = found(record(train_mlm_loss=slope[-3:], val_mlm_loss=[(500, 8.6)]))["plateau"]
    assert few.tries[0] == "train longer, with a higher trainer.max_steps"


def test_diverged() -> None:
    up = [*falling(9.8, 5.0, range(10, 251, 10)), *((step, 7.3) for step in range(260, 501, 10))]
    check = found(record(train_mlm_loss=up))["diverged"]
    assert check.measured == "training MLM loss 7.300 at the end, 5.384 around step 250"
    assert check.numbers["last"] - check.numbers["lowest"] > 0.5
    one_bad_point = curves()["train/mlm_loss"]
    one_bad_point[-1] = (500, 9.0)
    assert not found(record(train_mlm_loss=one_bad_point))
    lost = found(record(not_finite=90))["diverged"]
    assert "a loss is NaN or infinite from step 90 on" in lost.measured


@pytest.mark.parametrize(
    "losses",
    [
        [13.7, 45.0],
        [10.4, 13.7, 45.0],
        [9.9, 9.1, 13.7, 45.0, 44.0],
        [9.9, 9.0, 8.5, 8.1, 9.0, 14.0, 45.0, 44.0],
    ],
)
def test_a_curve_of_few_points_diverges_as_well(losses: list[float]) -> None:
    curve = [(10 * place, loss) for place, loss in enumerate(losses, start=1)]
    findings = found(record(train_mlm_loss=curve, val_mlm_loss=[(curve[-1][0], losses[-1])]))
    check = findings["diverged"]
    assert check.numbers["last"] == losses[-1] or check.numbers["last"] == 44.5
    assert check.numbers["lowest"] < 13.8
    assert "by -" not in " ".join(findings["plateau"].tries)
    if len(losses) >= 8:
        assert findings["plateau"].tries[0].startswith("a lower optim.lr: it rose by")


def test_one_point_tells_nothing_and_no_finite_one_tells_enough() -> None:
    assert "diverged" not in [check.name for check in diagnose(record(train_mlm_loss=[(10, 9.0)]))]
    lost = RunRecord(Path("run"), {}, {}, not_finite=10)
    (check,) = diagnose(lost)
    assert check.measured == (
        "no finite training MLM loss; a loss is NaN or infinite from step 10 on"
    )
    assert check.finding is not None
    json.dumps(check.numbers, allow_nan=False)


def test_a_gradient_that_overflows_once_is_no_divergence(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path, {"train/mlm_loss": [(1, 9.5)]})
    metrics.add(2, {"train/mlm_loss": 9.4, "weights/gradient_norm": float("inf")})
    assert "diverged" not in found(read_run(tmp_path))


def test_a_curve_that_was_resumed_twice_is_one_curve(tmp_path: Path) -> None:
    first = MetricsFile(tmp_path, {})
    for step in range(1, 9):
        first.add(step, {"train/mlm_loss": 10.0 - step / 2})
    for resumed_at, rise in ((6, 9.0), (3, 0.0)):
        kept = {name: curve[:resumed_at] for name, curve in read_run(tmp_path).curves.items()}
        again = MetricsFile(tmp_path, kept)
        for step in range(resumed_at + 1, 9):
            again.add(step, {"train/mlm_loss": 10.0 - step / 2 + rise})
        read = read_run(tmp_path)
        assert [step for step, _ in read.curves["train/mlm_loss"]] == [*range(1, 9)]
        assert ("diverged" in found(read)) == (rise > 0)


def test_the_pair_head_is_at_chance() -> None:
    check = found(record(val_nsp_accuracy=[(500, 0.514)]))["NSP head"]
    assert check.finding == "the next-sentence head is at chance"
    assert check.numbers["allowed"] == pytest.approx(3 * (0.25 / 10_000) ** 0.5)
    lengths = found(record(val_nsp_accuracy=[(500, 0.534)]))["NSP head"]
    assert lengths.finding == "the next-sentence head is no better than the length-only baseline"
    assert lengths.limit.startswith(
        "0.535: the better of the majority baseline 0.500 and the length-only baseline 0.520"
    )
    assert not found(record(val_nsp_accuracy=[(500, 0.536)]))


def test_a_perfect_pair_head_is_not_at_chance() -> None:
    data = HEALTHY["data"]
    summary = {"data": {**data, "labels": {**data["labels"], "pairs_read": 4}}}
    check = found(record(summary, val_nsp_accuracy=[(500, 0.9)]))["NSP head"]
    assert check.limit.startswith("1.000: ")
    assert not found(record(summary, val_nsp_accuracy=[(500, 1.0)]))


@pytest.mark.parametrize(("name", "title"), [("mlm", "words"), ("nsp", "pairs")])
def test_overfitting(name: str, title: str) -> None:
    up = [(100, 0.60), (200, 0.50), (300, 0.52), (400, 0.54), (500, 0.56)]
    ((found_name, check),) = found(record(**{f"val_{name}_loss": up})).items()
    assert found_name == f"overfitting, {title}"
    assert check.measured == "validation loss 0.560 at the end, 0.500 at step 200"
    assert check.finding == "from step 200 on the model memorizes its training text"
    little = [*up[:-1], (500, 0.549)]
    assert not found(record(**{f"val_{name}_loss": little}))


def test_a_loss_that_rises_everywhere_is_no_overfitting() -> None:
    up = [(100, 4.5), (300, 4.0), (500, 4.3)]
    rising = [(100, 4.5), (300, 4.0), (500, 4.3)]
    assert not found(record(val_mlm_loss=up, train_mlm_loss=rising))


def test_too_many_epochs() -> None:
    check = found(record({"epochs": 41.0}))["epochs"]
    assert check.measured == "41.0 over 6,000,000 tokens"
    assert not found(record({"epochs": 40.0}))


def test_few_tokens_for_the_size() -> None:
    check = found(record({"real_tokens": 10_000_000}))["tokens per parameter"]
    assert check.measured == "10: 10,000,000 tokens seen, 1,000,000 parameters"
    assert check.tries[0] == "trainer.max_steps=1000, which is 8 epochs"
    small = found(record({"real_tokens": 10_000_000, "epochs": 30.0}))["tokens per parameter"]
    assert small.tries[0] == "more text (data=), or a smaller model (model=)"
    assert small.tries[1] == "trainer.max_steps=1000, which is 60 epochs"


def test_the_device_waits_for_its_batches() -> None:
    check = found(record(work_waiting_fraction=[(10, 0.3), (20, 0.1)]))["waiting for data"]
    assert check.measured == "20.0% of the time of training"
    assert check.tries[0].startswith("batch.num_workers=2")


def test_another_corpus_than_the_one_asked_for() -> None:
    check = found(record({"fallback_reason": "the hub is out of reach"}))["corpus"]
    assert check.finding == "it is not the requested corpus: the hub is out of reach"


def test_what_a_run_left_no_numbers_for_is_not_looked_at() -> None:
    nothing = RunRecord(Path("run"), {}, {}, None)
    assert diagnose(nothing) == []
    without_pairs = record({"data": {"splits": {"train": {"tokens": 10}}, "labels": None}})
    assert "NSP head" not in [check.name for check in diagnose(without_pairs)]


def test_curves_are_read_from_the_runs_metrics(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path, {"train/mlm_loss": [(1, 9.5)]})
    metrics.add(2, {"train/mlm_loss": float("nan"), "val/mlm_loss": 9.25})
    read = read_run(tmp_path)
    assert read.curves == {"train/mlm_loss": [(1, 9.5)], "val/mlm_loss": [(2, 9.25)]}
    assert read.not_finite == 2
    assert read.summary is None
    check = found(read)["ended"]
    assert check.measured == "no summary.json; the last logged step is 2"
    assert "diverged" in found(read)


def test_the_newest_run_of_a_folder_is_read_and_a_checkpoint_stands_for_its_run(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("new", "day/old")):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.ckpt").touch()
        (folder / "summary.json").write_text(json.dumps(HEALTHY))
        os.utime(folder / "summary.json", (1000 - number, 1000 - number))
    assert read_run(tmp_path).folder == tmp_path / "new"
    for path in ("day/old/checkpoints/last.ckpt", "day/old/checkpoints", "day/old", "day"):
        assert read_run(tmp_path / path).folder == tmp_path / "day/old"


def test_where_there_is_no_run_and_where_it_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent does not exist"):
        read_run(tmp_path / "absent")
    with pytest.raises(UserError, match=r"holds no run: neither summary\.json nor metrics\.csv"):
        read_run(tmp_path)
    for text, message in (("{", "cannot be read"), ("[]", "holds a list")):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_run(tmp_path)


def test_a_real_run_is_diagnosed(
    run: FitResult, script: Callable[[str], ModuleType], capsys: CapSys
) -> None:
    read = read_run(Path(run.config.run_dir))
    assert read.curves == run.curves
    findings = found(read)
    assert run.validation is not None
    numbers = {check.name: check.numbers for check in diagnose(read)}
    assert numbers["plateau"]["baseline"] == run.validation.baselines.mlm_loss
    lowest = min(value for _, value in run.curves["val/mlm_loss"])
    assert numbers["plateau"]["best"] == pytest.approx(lowest, rel=1e-5)
    assert ("plateau" in findings) == (lowest > run.validation.baselines.mlm_loss - 0.1)
    assert "tokens per parameter" in findings

    script("doctor").main([run.config.run_dir])
    shown = capsys.readouterr().out
    for name, check in findings.items():
        assert f"{name}: {check.finding}" in shown
        assert check.tries[0].split(":")[0] in " ".join(shown.split())
    script("doctor").main([run.config.run_dir, "--json"])
    written = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in written["checks"] if one["finding"]} == set(findings)


def test_the_script_says_that_nothing_was_found_and_what_is_no_run(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: CapSys
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(HEALTHY))
    MetricsFile(tmp_path, curves())
    script("doctor").main([str(tmp_path)])
    assert "Nothing found." in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        script("doctor").main([str(tmp_path / "absent")])
    assert caught.value.code == 2
