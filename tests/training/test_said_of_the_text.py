"""A run says what is wrong with its text where the user looks: log, report, summary and doctor."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_lightning.config import TrainConfig
from bert_lightning.reports.run_report import report
from bert_lightning.runs.diagnosis import diagnose
from bert_lightning.runs.record import read_run
from bert_lightning.training.fit import fit

DOCUMENT = "{0}是{1}。{1}在{0}里。\n一句话{0}。\n一句话{1}。\n一句话{0}{1}。\n"
"""Of four paragraphs, one has two sentences."""


@pytest.mark.slow
def test_text_that_is_left_out_and_unknown_is_said_everywhere(
    small_config: Callable[..., TrainConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [chr(0x4E00 + number) * 2 for number in range(80)]
    text = "\n".join(DOCUMENT.format(*pair) for pair in zip(names[::2], names[1::2], strict=True))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    config = small_config(
        tmp_path / "run",
        f"data.path={tmp_path / 'text.txt'}",
        "trainer.max_steps=3",
        "trainer.val_check_interval=3",
        "tokenizer.min_frequency=5",
    )
    with caplog.at_level(logging.INFO):
        result = fit(config)
    warnings = [entry.message for entry in caplog.records if entry.levelno == logging.WARNING]
    assert any(
        said.startswith("Left out: 120 paragraphs of fewer than 2 sentences (of 160; ")
        and "pairs=document, segment and none keep them" in said
        for said in warnings
    )
    assert any(
        "of the training tokens are [UNK], more than 5%" in said and "tokenizer=wordpiece" in said
        for said in warnings
    )
    shown = report(result)
    unknown = result.curves["val/mlm_unknown_fraction"][-1][1]
    assert unknown > 0.3
    assert f"without the {unknown:.1%} [UNK]" in shown
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    left_out = [one for one in summary["left_out"] if one["fate"] == "Left out"]
    assert [one["count"] for one in left_out] == [120]
    assert summary["validation"]["mlm_unknown_fraction"] == unknown
    findings = {check.name for check in diagnose(read_run(tmp_path / "run")) if check.finding}
    assert {"text left out", "unknown tokens"} <= findings
