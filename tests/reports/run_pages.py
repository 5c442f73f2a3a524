"""Folders of runs as they are left behind, and pages as a parser reads them."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bert_lightning.config import TrainConfig, TrainerConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.reports.comparison.options import config_hash, plain_options
from bert_lightning.runs.folder import write_config

EVIL = "<script>alert('x')</script>"
CONFIG = TrainConfig(trainer=TrainerConfig(max_steps=60), seed=7)
SCORES = {
    "loss": 4.75,
    "mlm_loss": 4.345,
    "mlm_accuracy": 0.33,
    "mlm_accuracy_known": 0.316,
    "nsp_loss": 0.402,
    "nsp_accuracy": 0.818,
}
BASELINES = {"mlm_loss": 6.689, "mlm_accuracy_known": 0.081, "nsp_loss": 0.693}
METRICS = """step,train/mlm_loss,train/nsp_loss,work/pairs_per_second,work/training_seconds,\
val/loss,val/mlm_loss,val/mlm_loss_baseline,val/mlm_loss_rare,val/mlm_accuracy_rare,val/nsp_loss
30,6.5,0.7,100,5,,,,,,
30,,,,,5.9,5.2,6.689,8.1,0.01,0.7
60,4.5,0.5,120,10,,,,,,
60,,,,,4.75,4.345,6.689,7.9,0.02,0.402
"""
FACTS = {
    "run": {
        "corpus": EVIL,
        "corpus_origin": "notes.txt",
        "vocab_size": 1234,
        "parameters": 56789,
        "steps": 60,
        "classes": {
            name: {"fraction": 0.25, "from": 10, "loss_baseline": 9.0, "accuracy_baseline": 0.0}
            for name in ("middle", "rare")
        },
    },
    "starts": [
        {
            "step": 0,
            "accelerator": "cpu",
            "devices": 2,
            "processor": "some processor",
            "threads": 1,
            "precision": "32-true",
            "system": "Linux",
            "versions": {"torch": "2.13"},
            "commit": "abc123-dirty",
        }
    ],
    "predictions": {
        "step": 60,
        "split": "validation",
        "sentences": [
            {
                "before": f"the {EVIL}",
                "after": "起重机 .",
                "right": "<b>",
                "probability": 0.02,
                "top": [["crane", 0.61], ["<b>", 0.02]],
            }
        ],
        "pairs": [{"first": "a", "second": EVIL, "follows": True, "probability": 0.9}],
    },
}


def leave(
    folder: Path,
    config: TrainConfig | FinetuneConfig = CONFIG,
    metrics: str = METRICS,
    facts: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Leaves the folder of a complete run."""
    folder.mkdir(parents=True)
    write_config(replace(config, run_dir=str(folder)))
    summary = {
        "corpus": EVIL,
        "steps": 60,
        "parameters": 56789,
        "validation": SCORES,
        "loaded": {"step": 60, "validation": SCORES},
        "validation_baselines": BASELINES,
        "evaluation_set_sha256": "1234567890",
        "config_hash": config_hash(plain_options(config), type(config)),
        **more,
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "metrics.csv").write_text(metrics, encoding="utf-8")
    written = FACTS if facts is None else facts
    (folder / "report.json").write_text(json.dumps(written), encoding="utf-8")
    log = f"2026-11-26 22:00:32,011 WARNING bert_lightning.x: WARNING: {EVIL} is rare.\n" * 2
    (folder / "train.log").write_text(log, encoding="utf-8")
    return folder


class Page(HTMLParser):
    """A page as a browser reads it: every element is closed, and nothing is loaded."""

    EMPTY = ("meta", "link", "br", "img", "use", "path", "rect")

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.elements: set[str] = set()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, self.open

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [str(given["href"])] if tag == "a" else []
        self.loads += [
            str(value)
            for name, value in attrs
            if name in ("src", "srcset", "data", "action", "href", "xlink:href")
            and tag != "a"
            and not str(value).startswith(("#", "data:"))
        ]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in ("use", "path", "rect"):
            return
        assert self.open, f"</{tag}>"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)
        else:
            assert "http" not in data
            assert "@import" not in data
            assert "url(" not in data
