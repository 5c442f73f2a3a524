"""`bert_lightning.finetune`: what the command does, with its result in Python."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bert_lightning
from bert_lightning.config import TrainConfig
from bert_lightning.finetuning.scoring.records import read_record

OPTIONS = (
    *("task=text", "trainer.max_epochs=null", "trainer.max_steps=4", "trainer.accelerator=cpu"),
    *("batch.global_batch_size=16", "batch.max_length=16", "logger=none"),
)


@pytest.mark.slow
def test_a_run_and_its_twin_from_python(
    save_hf: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "the crane is flying,yes\nthe driver came,no\n" * 30
    (tmp_path / "moves.csv").write_text(f"text,label\n{rows}")
    places = [f"data.path={tmp_path / 'moves.csv'}", f"init_from={save_hf(tmp_path / 'bert')}"]
    result = bert_lightning.finetune(*OPTIONS, places, "seed=3", "run_dir=run")
    assert result.folder == Path("run")
    assert result.bert.classify("the crane is flying").label in ("yes", "no")
    assert result.curves["val/accuracy"][-1][0] == 4
    assert result.summary["seed"] == 3
    assert f"accuracy {result.summary['test']['accuracy']:.3f}" in repr(result)
    assert result.results is not None
    assert [row["model"] for row in result.results["rows"][:2]] == ["this model", "random weights"]
    assert "\nrandom weights  " in capsys.readouterr().out
    assert "random weights" in (tmp_path / "run" / "finetune.log").read_text()

    before = dict(os.environ)  # torch sets a few of its own, once
    again = bert_lightning.finetune("resume=run")  # nothing is left to do
    assert again.results == result.results
    assert again.summary == result.summary
    texts = ["the crane is flying", "the driver came"]
    assert again.bert.classify_many(texts) == result.bert.classify_many(texts)

    more = bert_lightning.finetune("resume=run", "seeds=2")
    assert more.results is not None
    assert more.results["seeds"] == [3, 4]
    assert (
        more.results["rows"][0]["scores"]["accuracy"]["scores"][0]
        == (result.results["rows"][0]["scores"]["accuracy"]["mean"])
    )

    alone = bert_lightning.finetune(*OPTIONS, places, "seed=3", "baselines=false", "run_dir=alone")
    assert alone.results is None
    assert dict(os.environ) == before
    ours, same = read_record(Path("run")), read_record(Path("alone"))
    assert np.array_equal(ours.predicted, same.predicted)


def test_it_takes_options_or_its_own_config() -> None:
    with pytest.raises(TypeError, match=r"takes options.*or one FinetuneConfig"):
        bert_lightning.finetune(TrainConfig())  # type: ignore[arg-type]
