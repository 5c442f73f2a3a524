"""Losses beside what models are good for: what is measured, drawn, and named as missing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.downstream import measure
from benchmarks.downstream_table import Model, downstream_figure, downstream_table, models
from benchmarks.finetuning import TASKS
from bert_lightning.config import TrainConfig
from bert_lightning.errors import UserError
from bert_lightning.training.fit import fit

BLIMP = {"all": {"accuracy": 0.6, "unknown": 10, "pairs": 100, "known_accuracy": 0.7}}
PROBE = {"probes": {"layers": [{"accuracy": 0.4}, {"accuracy": 0.8}, {"accuracy": 0.5}]}}
GAINS = {task: {"mean": 0.1, "low": 0.0, "high": 0.2} for task in TASKS}


def test_the_kept_results_make_the_table() -> None:
    found = models()
    names = [model.name for model in found]
    assert {"textbook", "tiny_8min", "wikitext2_best"} <= {*names}
    assert "chinese_tiny" not in names
    assert names.index("textbook") < names.index("tiny_8min")
    (best,) = (model for model in found if model.name == "wikitext2_best, steps_4000")
    assert best.gains["stsb"]["low"] > 0
    assert "fine-tuning" not in str(best.missing)


def test_a_model_without_results_has_empty_cells_and_is_not_drawn() -> None:
    whole = Model("a, twin", "place", "wordpiece", 3.0, 1.2, [BLIMP, BLIMP], [PROBE], GAINS)
    bare = Model("b", "place", "word", 4.0, 1.4, [], [], {"stsb": GAINS["stsb"]})
    assert whole.missing == []
    others = ", ".join(task for task in TASKS if task != "stsb")
    assert bare.missing == ["BLiMP", "probing", f"fine-tuning ({others})"]
    rows = downstream_table([bare, whole]).splitlines()
    assert "| word | 4.00 | 1.400 |  |  |  |  |" in rows[2]
    assert "| wordpiece | 3.00 | 1.200 | 0.600 | 10.0% | 0.700 | 0.800 | +0.100 |" in rows[3]
    blimp, probe, gains = downstream_figure([bare, whole]).axes
    drawn = [(line.get_label(), list(line.get_ydata())) for line in [*blimp.lines, *probe.lines]]
    assert drawn == [("wordpieces", [0.6]), ("chance", [0.5, 0.5]), ("wordpieces", [0.8])]
    points = {line.get_label(): list(line.get_xdata()) for line in gains.lines}
    assert points["stsb"] == [1.4, 1.2]
    assert [axes.get_title() for axes in downstream_figure([bare]).axes] == ["fine-tuning"]


@pytest.mark.slow
def test_a_kept_run_is_measured_once(
    small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    folder = Path(fit(small_config(tmp_path)).config.run_dir)
    kept, datasets = tmp_path / "seed=0", tmp_path / "datasets"
    kept.mkdir()
    for file in (kept / "result.json", folder / "summary.json"):
        file.write_text('{"training_seconds": 1.5, "steps": 6}', encoding="utf-8")
    (datasets / "blimp").mkdir(parents=True)
    pair = {"sentence_good": "The crane sees .", "sentence_bad": "The sees crane .", "UID": "order"}
    (datasets / "blimp" / "a.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    (datasets / "ud-ewt").mkdir()
    for split in ("train", "dev", "test"):
        sentence = "The\tDET\ncrane\tNOUN\nsees\tVERB\n\n"
        (datasets / "ud-ewt" / f"{split}.conll").write_text(sentence * 1000, encoding="utf-8")
    measure(kept, folder, datasets)
    text = (kept / "downstream.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert found["blimp"]["all"]["pairs"] == 1
    assert found["probe"]["probes"]["examples"] == 3000
    assert len(found["probe"]["probes"]["layers"]) == 3
    assert found["blimp"]["seconds"] > 0
    assert str(tmp_path) not in text
    assert str(folder) not in text
    with pytest.raises(UserError, match=r"downstream.json exists, .* never overwritten"):
        measure(kept, folder, datasets)


def test_another_run_is_refused(tmp_path: Path) -> None:
    for name, steps in (("result", 2), ("summary", 1)):
        found = {"training_seconds": 1.5, "steps": steps}
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(UserError, match=r"absent.summary.json does not exist"):
        measure(tmp_path, tmp_path / "absent", tmp_path)
    with pytest.raises(UserError, match=r"is not the run of .*: steps is 1, and not 2"):
        measure(tmp_path, tmp_path, tmp_path)
