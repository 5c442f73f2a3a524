"""Probes on the terminal: the accuracy of each layer beside the majority and the control task."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bert_lightning.evaluation.probing import ProbeScore
from bert_lightning.finetuning.probing.models import Probed
from bert_lightning.runs.folder import shown
from bert_lightning.terminal import figures


def show_probes(found: Probed) -> None:
    """Prints a row for each layer, one for the mix of all, and one for the majority baseline."""
    console, probes = Console(highlight=False, markup=False), found.probes
    _show_head(console, f"model     {found.model}", found)
    header = ["layer", "accuracy", "95% interval", "control", "selectivity", "in the mix"]
    rows = [
        [f"{layer} (embeddings)" if layer == 0 else str(layer), *_cells(score), f"{weight:.2f}"]
        for layer, (score, weight) in enumerate(zip(probes.layers, probes.mix_weights, strict=True))
    ]
    rows.append(["mix of all layers", *_cells(probes.mix), ""])
    rows.append(["majority baseline", f"{probes.majority:.1%}", "", "", "", ""])
    if probes.mix.control is None:
        shown = (0, 1, 2, 5)
        header, rows = [header[i] for i in shown], [[row[i] for i in shown] for row in rows]
    console.print(figures(header, rows))
    console.print(f"\n{found.seconds:,} seconds; data.train_examples=N probes fewer examples")


def show_run(folder: Path, probed: Sequence[Probed], file: Path, curves: str) -> None:
    """Prints a row for each checkpoint of a run, and where the results and the curves are."""
    console, (first, *_) = Console(highlight=False, markup=False), probed
    _show_head(console, f"run       {shown(folder)}", first)
    rows = []
    for one in probed:
        found = one.probes
        best = found.layers[found.best_layer]
        accuracies = [f"{score.accuracy:.1%}" for score in (best, found.mix)]
        rows.append([f"{one.step:,}", str(found.best_layer), *accuracies, f"{found.majority:.1%}"])
    header = ["step", "best layer", "accuracy", "mix of all layers", "majority baseline"]
    console.print(figures(header, rows))
    steps = "1 checkpoint is" if len(probed) == 1 else f"{len(probed)} checkpoints are"
    console.print(
        f"\n{steps} left of this run: callbacks.save_top_k=1000 keeps one after each validation, "
        "and trainer.val_check_interval says how often it validates\n"
        f"results   {shown(file)}\ncurves    {curves}/… beside the run's own: tensorboard --logdir "
        f"{shown(folder)}\n{sum(one.seconds for one in probed):,.1f} seconds; "
        "data.train_examples=N probes fewer examples",
        soft_wrap=True,
    )


def _show_head(console: Console, model: str, found: Probed) -> None:
    for note in found.notes:
        console.print(note, soft_wrap=True)
    vector = "its first token" if found.task == "tokens" else found.pooling
    console.print(
        f"{model}\ntask      {found.task}, {found.classes} classes; vector: {vector}\n"
        f"train     {found.probes.examples:,} labels of {found.data}\n"
        f"held out  {found.probes.held_out:,} labels of its test split\n",
        soft_wrap=True,
    )


def _cells(score: ProbeScore) -> list[str]:
    interval = f"{score.low:.1%} to {score.high:.1%}"
    if score.control is None or score.selectivity is None:
        return [f"{score.accuracy:.1%}", interval, "", ""]
    beside = [f"{score.control:.1%}", f"{score.selectivity:.1%}"]
    return [f"{score.accuracy:.1%}", interval, *beside]
