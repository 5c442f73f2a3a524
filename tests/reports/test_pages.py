"""report.html: built from the files of a run's folder, whatever state they are in."""

import base64
import json
import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from run_pages import BASELINES, CONFIG, EVIL, FACTS, METRICS, SCORES, Page, leave

from bert_lightning.cli import app
from bert_lightning.config import CorpusConfig, OptimConfig, TrainConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.errors import UserError
from bert_lightning.pictures.style import Picture
from bert_lightning.reports import run_report
from bert_lightning.reports.comparison.options import plain_options
from bert_lightning.reports.page import pages, pretraining, while_training
from bert_lightning.reports.page.options import command_line
from bert_lightning.reports.page.pages import write_pages, write_run_page
from bert_lightning.reports.page.safely import write_page_of_run
from bert_lightning.reports.page.start import commit_of
from bert_lightning.training.fit import fit

CONF = Path(__file__).parents[2] / "conf"
SECTIONS = ["summary", "losses", "scores", "words", "predictions", "data", "speed", "options"]
SECTIONS += ["reproduce", "messages"]


def page_of(folder: Path) -> Page:
    page = Page(write_run_page(folder))
    assert not page.loads
    assert "script" not in page.elements
    return page


def test_a_run_has_all_sections_and_the_numbers_of_its_summary(tmp_path: Path) -> None:
    page = page_of(leave(tmp_path / "run"))
    assert [one for one in page.ids if one in SECTIONS] == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert "svg" in page.elements
    for name in ("mlm_loss", "nsp_loss"):
        assert f"{SCORES[name]:.3f} {BASELINES[name]:.3f} better" in page.text
    assert "31.6% 8.1% better" in page.text
    assert "has learned to predict masked words: on held-out text it loses 4.345" in page.text
    assert "56,789 parameters was trained on" in page.text
    assert "2 CPU (some processor, 1 thread)" in page.text
    assert "rare, fewer than 10 times 25.0% 7.900 9.000 2.0% 0.0%" in page.text
    assert "wrong : it gave <b> 2.0 %" in page.text
    assert "起重机" in page.text
    assert "trainer.max_steps 60 null" in page.text
    assert "abc123-dirty" in page.text
    assert "bert-lightning train trainer.max_steps=60 seed=7" in page.text


def test_text_of_users_is_escaped_and_long_values_stay_whole(tmp_path: Path) -> None:
    long = EVIL + "x" * 5000
    config = replace(CONFIG, data=CorpusConfig(path=long))
    page = page_of(leave(tmp_path / "run", config))
    assert page.text.count(EVIL) >= 6
    assert page.text.count(f"Warning: {EVIL} is rare.") == 1
    assert long in page.text


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        (METRICS[:-30], "5.200"),
        (METRICS.replace("4.5,0.5", "nan,0.5"), "A loss was not finite, first at step 60."),
        ("step,train/mlm_loss\n10,6.5\n", "No score on held-out text yet"),
        ("", "No step was logged."),
        ("step,train/mlm_loss\nx,6.5\n", "corrupted: invalid literal"),
    ],
)
def test_a_run_that_was_killed_or_diverged_has_a_page(
    tmp_path: Path, metrics: str, says: str
) -> None:
    folder = leave(tmp_path / "run", metrics=metrics)
    (folder / "summary.json").unlink()
    page = page_of(folder)
    assert says in page.text
    assert "This run has not reached its end:" in page.text


def test_a_run_without_pairs_says_nothing_of_them(tmp_path: Path) -> None:
    scores = {name: value for name, value in SCORES.items() if "nsp" not in name}
    metrics = "step,train/mlm_loss,val/loss,val/mlm_loss\n60,4.5,,\n60,,4.345,4.345\n"
    baselines = {**BASELINES, "nsp_loss": None}
    facts = {**FACTS, "predictions": {**FACTS["predictions"], "pairs": []}}
    run = leave(
        tmp_path / "run",
        metrics=metrics,
        facts=facts,
        validation=scores,
        loaded={"step": 60, "validation": scores},
        validation_baselines=baselines,
    )
    assert "sentence" not in page_of(run).text.split("Options")[0]


def test_it_has_the_joint_loss_and_the_pictures_that_were_drawn(tmp_path: Path) -> None:
    folder = leave(tmp_path / "run")
    assert "pictures" not in Page(write_run_page(folder)).ids
    picture = Picture(1, 1).save(folder / "crane_by_layer.png")
    (folder / "loss.png").write_bytes(picture.read_bytes())
    text = write_run_page(folder).read_text(encoding="utf-8")
    assert base64.b64encode(picture.read_bytes()).decode() in text
    assert "the joint loss by optimizer step" in text
    page = Page(folder / "report.html")
    assert "pictures" in page.ids
    assert "crane by layer" in page.text
    assert text.count("data:image/png") == 1


def test_while_it_lasts_it_says_up_to_which_step(tmp_path: Path) -> None:
    folder = leave(tmp_path / "run", metrics="".join(METRICS.splitlines(keepends=True)[:3]))
    (folder / "summary.json").unlink()
    (folder / ".lock.json").touch()
    with FileLock(folder / ".lock"):
        text = page_of(folder).text
    assert "Still training when this page was written: step 30 of 60." in text
    assert "5.200 6.689 better" in text


def test_the_folder_of_an_earlier_version_lacks_little(tmp_path: Path) -> None:
    run = leave(tmp_path / "run", facts={})
    (run / "train.log").unlink()
    text = page_of(run).text
    assert "4.345 6.689 better" in text
    assert "did not note its versions" in text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        list(write_pages(tmp_path))


def test_the_command_starts_the_same_run(tmp_path: Path) -> None:
    data = CorpusConfig(path="it's [my] text, a=b")
    config = replace(CONFIG, data=data, optim=OptimConfig(lr=1e-4), run_dir="x")
    words = shlex.split(command_line(tmp_path, plain_options(config), "train"))
    assert words[:2] == ["bert-lightning", "train"]
    again = app.compose_for_script(CONF, words[2:])
    assert replace(again, run_dir="x") == config


def test_the_options_that_a_command_line_gave_and_the_seed_that_was_drawn(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    given = '- model=mini\n- "data.name=a b"\n- seed=null\n- run_dir=here\n- hydra.x=1\n'
    (tmp_path / ".hydra" / "overrides.yaml").write_text(given)
    command = command_line(tmp_path, plain_options(replace(CONFIG, seed=99)), "train")
    assert command == "bert-lightning train model=mini 'data.name=a b' seed=99"


def test_only_a_checkout_has_a_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None


def test_a_page_that_fails_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = leave(tmp_path / "run")
    monkeypatch.setattr(pretraining, "render", lambda *_: 1 / 0)
    monkeypatch.setitem(pages._PAGES, "train", pretraining.write_page)
    with caplog.at_level(logging.WARNING, "bert_lightning"):
        write_page_of_run(folder)
    (record,) = caplog.records
    assert "report.html could not be written (ZeroDivisionError" in record.getMessage()
    assert not (folder / "report.html").exists()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    scores = {"accuracy": 0.75, "macro_f1": 0.7}
    spread = {"mean": 0.75, "deviation": 0.01, "worst": 0.74, "scores": [0.74, 0.76]}
    weak = {**spread, "mean": 0.5}
    gain = {"mean": 0.25, "low": 0.1, "high": 0.4}
    folder = leave(
        tmp_path / "study",
        FinetuneConfig(init_from="pre"),
        metrics="step,train/text_loss,val/error,val/accuracy,val/accuracy_baseline\n60,0.5,,,\n"
        "60,,0.25,0.75,0.5\n",
        facts={},
        task="text",
        init_from="pre",
        data="reviews.csv",
        classes=2,
        examples={"train": 80, "validation": 10, "test": 10},
        validation=scores,
        test=scores,
        best_step=60,
        baselines={"majority": {"accuracy": 0.5, "macro_f1": 0.3}},
        notes=[f"The text is column '{EVIL}'."],
    )
    rows = [
        {"model": "this model", "seeds": [0, 1], "degenerate": 0, "scores": {"accuracy": spread}},
        {
            "model": "random weights",
            "seeds": [0, 1],
            "degenerate": 0,
            "scores": {"accuracy": weak},
            "gain": gain,
        },
    ]
    results = {
        "task": "text",
        "data": "reviews.csv",
        "score": "accuracy",
        "random_weights": False,
        "seeds": [0, 1],
        "rows": rows,
        "learning_curve": [{"examples": 27, "rows": rows}, {"examples": 80, "rows": rows}],
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "confusion.csv").write_text(f"label,{EVIL},no\n{EVIL},4,1\nno,2,3\n")
    text = f"place,label,predicted,probability,text\na,no,yes,0.6,b\nb,no,yes,0.9,{EVIL}\n"
    (folder / "predictions.csv").write_text(text + "c,no,no,0.99,right\n")
    return folder


def test_a_study_of_fine_tuning(study: Path) -> None:
    page = page_of(study)
    assert {"scores", "learning-curve", "confusion", "errors", "data"} <= set(page.ids)
    assert "its accuracy is 0.750 ± 0.010 over 2 seeds" in page.text
    assert "Pretraining helped: the same model from random weights reaches 0.500" in page.text
    assert "random weights 0.500 ± 0.010 0.740 +0.250 +0.100 to +0.400" in page.text
    assert "accuracy 0.750 0.500 0.750" in page.text
    assert f"no yes 90.0% {EVIL} no yes 60.0% b" in page.text
    assert f"{EVIL} 4 1 no 2 3" in page.text
    assert "27 0.750 0.500 80 0.750 0.500" in page.text


def test_a_single_run_of_fine_tuning(study: Path) -> None:
    (study / "results.json").unlink()
    text = page_of(study).text
    assert "this model 0.750" in text
    assert "majority 0.500" in text


@pytest.mark.slow
def test_a_sweep_names_its_failed_trials_and_links_its_runs(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    rates = {"good": 0.005, "bad": 0.003}
    for place, (name, lr) in enumerate(rates.items()):
        scores = {**SCORES, "loss": 4.0 + place}
        config: TrainConfig = replace(CONFIG, optim=OptimConfig(lr=lr))
        leave(sweep / name, config, loaded={"step": 60, "validation": scores})
    (sweep / "lost").mkdir()
    notes = [
        {"trial": n, "folder": name, "options": [f"optim.lr={lr}"], "exit_code": code}
        for n, (name, lr, code) in enumerate(
            [("good", 0.005, 0), ("bad", 0.003, 0), ("lost", 9, 2)]
        )
    ]
    (sweep / "trials.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    *_, file = write_pages(sweep)
    page = Page(file)
    assert file == sweep / "report.html"
    assert "3 runs, of which 1 is not ranked. The best by val/loss (4.000)" in page.text
    assert "lost : failed, exit code 2" in page.text
    assert page.text.index("0.005 4.000") < page.text.index("0.003 5.000")
    assert {"good/report.html", "bad/report.html"} <= set(page.links)
    assert all((sweep / link).is_file() for link in page.links)
    assert not page.loads
    assert "svg" in page.elements


@pytest.mark.slow
def test_a_real_run_has_its_page_while_it_trains_and_trains_on_without_one(
    tmp_path: Path,
    small_config: Callable[..., TrainConfig],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(while_training, "_SECONDS", 0.0)
    monkeypatch.setattr(while_training, "_RATIO", 0.0)
    config = small_config(tmp_path)
    result = fit(config, callbacks=while_training.pages_of(config))
    early = Page(tmp_path / "report.html")
    assert "Still training when this page was written: step 3 of 6." in early.text
    assert {"predictions", "words"} <= set(early.ids)

    with monkeypatch.context() as broken:
        broken.setattr(pretraining, "render", lambda *_: 1 / 0)
        with caplog.at_level(logging.WARNING, "bert_lightning"):
            told = run_report.report(result)
    assert "report.html" in told
    messages = [record.getMessage() for record in caplog.records]
    assert sum("could not be written" in message for message in messages) == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert Page(tmp_path / "report.html").text == early.text

    (file,) = write_pages(tmp_path)
    page = Page(file)
    assert f"{summary['validation']['mlm_loss']:.3f}" in page.text
    assert "not reached its end" not in page.text
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["predictions"]["step"] == summary["loaded"]["step"]
    assert len(facts["predictions"]["sentences"]) > 3
    assert {one["follows"] for one in facts["predictions"]["pairs"]} == {True, False}
    assert sum(one["fraction"] for one in facts["run"]["classes"].values()) == pytest.approx(1)
    assert facts["starts"][0]["versions"]["torch"]
