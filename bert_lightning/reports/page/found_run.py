"""What the files of a run's folder say of it, whether it has ended or not."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bert_lightning.reports.comparison.found import FoundRun, read_found
from bert_lightning.reports.page import options, start
from bert_lightning.runs.curves import Curve, Curves

_PREFIXES = ("work", "speed")
"""Of the curves of throughput; earlier versions had the second."""
_DRAWN_HERE = ("loss.png", "joint_loss.png", "results.png")
"""Pictures of a run's folder that its page draws itself."""


@dataclass(frozen=True)
class RunFiles:
    """A run as its folder shows it. Numbers come from the summary once it has reached its end."""

    run: FoundRun
    written: Mapping[str, Any]
    """The content of `report.json`."""

    @property
    def is_complete(self) -> bool:
        return not self.run.problem

    @property
    def summary(self) -> Mapping[str, Any]:
        """Empty until the run has reached its end."""
        return self.run.summary if self.is_complete else {}

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What is known of a run: before its first step, and more at its end."""
        early: dict[str, Any] = self.written.get("run", {})
        if not self.is_complete:
            return {**self.run.summary, **early}
        return {**early, **self.run.summary}

    @cached_property
    def curves(self) -> Curves:
        """Finite values only."""
        finite = {
            name: [point for point in curve if isfinite(point[1])]
            for name, curve in self.run.curves.items()
        }
        return {name: curve for name, curve in finite.items() if curve}

    @property
    def step(self) -> int:
        """The last step of the curves."""
        return max((curve[-1][0] for curve in self.run.curves.values() if curve), default=0)

    @property
    def not_finite(self) -> int | None:
        """The first step at which a loss was NaN or infinite."""
        losses = [curve for name, curve in self.run.curves.items() if name.endswith("loss")]
        steps = [step for curve in losses for step, value in curve if not isfinite(value)]
        return min(steps, default=None)

    @property
    def validated_at(self) -> int | None:
        """The step of the model whose scores count: that which `load` takes, or the last one."""
        if self.is_complete:
            last = self.summary.get("best_step", self.summary.get("steps"))
            return self.summary.get("loaded", {}).get("step", last)
        curve = self.curves.get("val/loss") or self.curves.get("val/error")
        return curve[-1][0] if curve else None

    def at(self, name: str, step: int | None) -> float | None:
        """Returns the value of a curve at a step."""
        return next((value for at, value in self.curves.get(name, []) if at == step), None)

    def work(self, name: str) -> Curve:
        """Returns a curve of throughput."""
        return next((c for prefix in _PREFIXES if (c := self.curves.get(f"{prefix}/{name}"))), [])

    @property
    def starts(self) -> list[Mapping[str, Any]]:
        """The machine and the versions of each process that trained it."""
        return self.written.get("starts", [])

    @property
    def seconds(self) -> float | None:
        """Of training, validation excluded."""
        curve = self.work("training_seconds")
        return self.summary.get("training_seconds") or (curve[-1][1] if curve else None)

    @property
    def device(self) -> str:
        """The devices of its last start, in words."""
        here = self.starts[-1] if self.starts else self.facts.get("machine", self.facts)
        count, kind = here.get("devices", 1), here.get("accelerator", "")
        threads = ""
        if kind == "cpu" and "threads" in here:
            threads = f", {here['threads']} thread{'s' * (here['threads'] != 1)}"
        named = {"cpu": "CPU", "cuda": "GPU", "gpu": "GPU"}.get(kind, kind)
        details = f"{here.get('processor', '')}{threads}".strip(", ")
        return f"{count} {named}{f' ({details})' if details else ''}" if kind else ""


def read(folder: Path) -> RunFiles:
    return RunFiles(read_found(folder), start.read_facts(folder))


def speed(files: RunFiles, unit: str) -> list[tuple[str, str, str]]:
    """Returns what is known of throughput: a name, a value, and what it means."""
    rows = []
    units = {unit: f"{unit} per second", "tokens": "tokens per second"}
    means = {"pairs": "pairs_per_second", "tokens": "real_tokens_per_second"}
    for name, title in units.items():
        curve = [value for _, value in files.work(f"{name}_per_second")]
        mean = files.summary.get(means.get(name, f"{name}_per_second"))
        mean = mean if mean is not None else (fmean(curve) if curve else None)
        if mean is not None:
            spread = f"median of the logged {median(curve):,.0f}" if curve else ""
            rows.append((title, f"{mean:,.0f}", spread))
    for name, title, form, means_that in (
        ("tflops", "TFLOP/s", "{:,.2g}", "a device's, of the products of the model alone"),
        ("mfu", "utilization (MFU)", "{:.0%}", "of the rate of large matrix products there"),
        ("waiting_fraction", "waiting for data", "{:.1%}", "of the time of training"),
        ("peak_memory_gib", "peak memory", "{:,.2f} GiB", "of the process or the GPU"),
    ):
        if curve := [value for _, value in files.work(name)]:
            value = max(curve) if name == "peak_memory_gib" else fmean(curve)
            rows.append((title, form.format(value), means_that))
    return rows


def ending(files: RunFiles) -> dict[str, Any]:
    """Returns the parts of a page that all runs have."""
    folder, command = files.run.folder, files.run.command
    warnings, log, left_out = options.messages(folder / f"{command}.log")
    return {
        "folder": folder.name,
        "changed": options.changed(files.run.options, command),
        "options": options.everything(files.run.options),
        "command": options.command_line(folder, files.run.options, command),
        "starts": files.starts,
        "seed": files.run.options.get("seed"),
        "warnings": warnings,
        "remarks": files.run.remarks,
        "log": "\n".join(log),
        "log_left_out": left_out,
        "log_name": f"{command}.log",
        "pictures": [*_pictures(folder)],
        "speed": speed(files, "pairs" if command == "train" else "examples"),
        "device": files.device,
        "seconds": files.seconds,
        "step": files.step,
        "problem": files.run.problem,
        "not_finite": files.not_finite,
        "parameters": files.facts.get("parameters"),
    }


def _pictures(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields the name and the content, in base64, of each picture that was drawn of a run."""
    for file in sorted(folder.glob("*.png")):
        if file.name not in _DRAWN_HERE:
            yield file.stem.replace("_", " "), base64.b64encode(file.read_bytes()).decode()
