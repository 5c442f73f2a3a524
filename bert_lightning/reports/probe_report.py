"""Probes on the terminal: the accuracy of each layer beside the majority and the control task."""

from rich.console import Console

from bert_lightning.evaluation.probing import ProbeScore
from bert_lightning.finetuning.probes import Probed
from bert_lightning.terminal import figures


def show_probes(found: Probed) -> None:
    """Prints a row for each layer, one for the mix of all, and one for the majority baseline."""
    console, probes = Console(highlight=False, markup=False), found.probes
    for note in found.notes:
        console.print(note, soft_wrap=True)
    vector = "its first token" if found.task == "tokens" else found.pooling
    console.print(
        f"model     {found.model}\ntask      {found.task}, {found.classes} classes; vector: "
        f"{vector}\ntrain     {probes.examples:,} labels of {found.data}\n"
        f"held out  {probes.held_out:,} labels of its test split\n",
        soft_wrap=True,
    )
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


def _cells(score: ProbeScore) -> list[str]:
    interval = f"{score.low:.1%} to {score.high:.1%}"
    if score.control is None or score.selectivity is None:
        return [f"{score.accuracy:.1%}", interval, "", ""]
    beside = [f"{score.control:.1%}", f"{score.selectivity:.1%}"]
    return [f"{score.accuracy:.1%}", interval, *beside]
