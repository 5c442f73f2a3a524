"""What a report says that no other file of a run has: `report.json`, with facts and predictions.

Its facts are known before the first step, so that a run has them while it lasts.
"""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bert_lightning.evaluation.token_stats import CLASSES
from bert_lightning.files import write_text
from bert_lightning.optim.time_budget import UNKNOWN_STEPS
from bert_lightning.training.datamodule import PretrainingData
from bert_lightning.training.module import TrainingModule
from bert_lightning.version import installed_version

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

FACTS = "report.json"
"""In a run's folder."""
_PACKAGE = Path(__file__).parents[2]
_VERSIONS = ("torch", "lightning", "numpy", "tokenizers")


def read_facts(folder: Path) -> dict[str, Any]:
    """Returns the content of `report.json`; empty where an earlier version trained."""
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_facts(folder: Path, changed: Mapping[str, Any]) -> None:
    """Writes `report.json` anew, with these parts changed and the others as they were."""
    text = json.dumps({**read_facts(folder), **changed}, indent=1, ensure_ascii=False)
    write_text(folder / FACTS, text + "\n")


def write_start(folder: Path, trainer: "Trainer", module: TrainingModule[Any]) -> None:
    """Writes what is known before the first step; where a run resumes, beside its earlier starts.

    What an earlier run left there goes.
    """
    resumed_at = module.progress.resumed_at
    earlier = read_facts(folder) if resumed_at else {}
    here = {"step": resumed_at, **machine_of(trainer)}
    starts = [*earlier.get("starts", []), here]
    facts = {**earlier, "run": facts_of(trainer, module), "starts": starts}
    write_text(folder / FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def machine_of(trainer: "Trainer") -> dict[str, Any]:
    """Returns what a run computes with: devices, system, versions and the commit of a checkout."""
    device = trainer.strategy.root_device
    return {
        "accelerator": device.type,
        "devices": trainer.world_size,
        "processor": processor_of(device),
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "system": platform.platform(),
        "versions": {
            "Python": platform.python_version(),
            "bert-lightning": installed_version(),
            **{name: version(name) for name in _VERSIONS},
        },
        "commit": commit_of(_PACKAGE.parent),
    }


def processor_of(device: torch.device) -> str:
    """Returns the name of a device, such as `NVIDIA H100 80GB HBM3`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def commit_of(checkout: Path) -> str | None:
    """Returns the commit of a checkout, with `-dirty` where files differ from it; else None."""
    if not (checkout / ".git").exists():  # installed, perhaps within another project's checkout
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            [*command, "--dirty"], capture_output=True, encoding="utf-8", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def facts_of(trainer: "Trainer", module: TrainingModule[Any]) -> dict[str, Any]:
    """Returns what a run trains on and how long, by the names that a summary has."""
    config, steps = module.config, module.progress.steps
    known = ("corpus", "corpus_origin", "fallback_reason", "vocab_size")
    facts: dict[str, Any] = {
        **{name: module.description[name] for name in known},
        "parameters": sum(parameter.numel() for parameter in module.model.parameters()),
        "steps": None if steps == UNKNOWN_STEPS else steps,
        "time_budget": config.optim.time_budget,
        "seed": config.seed,
    }
    data = trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(data, PretrainingData):
        facts["vocab_size"] = data.corpus.tokenizer.get_vocab_size()
        facts["left_out"] = [asdict(omission) for omission in data.corpus.left_out]
        facts["data"] = None if data.statistics is None else asdict(data.statistics)
        facts["classes"] = word_classes(data, config.validates_in_part)
    return facts


def word_classes(data: PretrainingData, partly: bool) -> dict[str, dict[str, float]]:
    """Returns the masked tokens of the validation split by the frequency of their words.

    The baselines are those of `evaluate`: the loss of the unigram baseline, and the accuracy of the
    training split's most frequent token. A validation of a part of the split has none.
    """
    if "validation" not in data.evaluation_sets or partly:
        return {}
    labels = data.evaluation_sets["validation"].contents.masked_labels
    stats = data.token_stats
    group, most_frequent = stats.group[labels], stats.rank[labels] == 0
    nll = stats.unigram_nll[labels]
    least = (*stats.limits, 0, 0)
    return {
        name: {
            "fraction": float(np.mean(group == place)),
            "from": least[place],
            "loss_baseline": float(nll[group == place].mean()),
            "accuracy_baseline": float(most_frequent[group == place].mean()),
        }
        for place, name in enumerate(CLASSES)
        if (group == place).any()
    }
