"""Word senses: accuracies or similarities on the terminal, and vectors for the projector."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from rich.console import Console

from bert_lightning.errors import UserError, writing
from bert_lightning.evaluation.sense_files import Occurrence
from bert_lightning.evaluation.senses import SensesResult, Similarities, Similarity, WordVectors
from bert_lightning.terminal import figures

_SHOWN = 10
"""Pairs that are shown from either end of a long list."""
_CONFIG = "projector_config.pbtxt"
"""The file that TensorBoard's projector finds its vectors by."""


def show_senses(found: SensesResult) -> None:
    """Prints the senses, and the accuracy of each layer beside the majority baseline."""
    console = Console(highlight=False, markup=False)
    console.print(f"model       {found.model}\nheld out    {found.held_out}\n", soft_wrap=True)
    rows = [[name, f"{a:,}", f"{b:,}"] for name, (a, b) in found.senses.items()]
    totals = [f"{sum(column):,}" for column in zip(*found.senses.values(), strict=True)]
    header = [f"senses of {found.word}", "training", "scored"]
    console.print(figures(header, [*rows, ["all", *totals]]), "")
    layers = [
        [
            _layer(index),
            f"{one.accuracy:.1%}",
            f"{one.low:.1%} to {one.high:.1%}",
            f"{found.majority:.1%}",
        ]
        for index, one in enumerate(found.layers)
    ]
    console.print(figures(["layer", "accuracy", "95% interval", "majority baseline"], layers))
    _notes(console, found)


def show_similarities(found: Similarities) -> None:
    """Prints the sentences, and the cosine of the word's vectors in each layer."""
    console = Console(highlight=False, markup=False)
    for index, sentence in enumerate(found.sentences, start=1):
        console.print(f"{index:>3}  {shorten(sentence, 90, placeholder=' …')}", soft_wrap=True)
    layers = len(found.pairs[0].layers)
    header = [f"cosine of {found.word} in layer", *map(str, range(layers))]
    rows = [*map(_row, found.pairs)]
    if len(rows) > 2 * _SHOWN:
        left_out = len(rows) - 2 * _SHOWN
        rows = [*rows[:_SHOWN], [f"… {left_out:,} pairs between"], *rows[-_SHOWN:]]
    console.print("", figures(header, rows))
    _notes(console, found)


def _row(pair: Similarity) -> list[str]:
    names = f"{pair.first + 1} and {pair.second + 1}"
    return [names, *(f"{cosine:.2f}" for cosine in pair.layers)]


def _layer(index: int) -> str:
    return f"{index} (embeddings)" if index == 0 else str(index)


def _notes(console: Console, found: SensesResult | Similarities) -> None:
    if found.cut:
        console.print(
            f"\nSentences longer than the model reads, cut around the word: {found.cut:,}."
        )
    if found.unknown:
        console.print(
            f"\nOccurrences that are [UNK] to the tokenizer, so that the model sees only the words "
            f"around: {found.unknown:,}."
        )


def write_projector(folder: Path, found: Sequence[Occurrence], vectors: WordVectors) -> None:
    """Writes the vectors of each layer, with the sense and the sentence of each as its labels.

    Raises:
        UserError: the folder holds such vectors already, or cannot be written to.
    """
    if (folder / _CONFIG).exists():
        raise UserError(
            f"{folder} holds vectors for the projector already: --projector FOLDER with a new one"
        )
    columns, rows = ["sentence"], [[_one_line(one.sentence)] for one in found]
    if all(one.sense is not None for one in found):
        columns = ["sense", *columns]
        rows = [[_one_line(str(one.sense)), *row] for one, row in zip(found, rows, strict=True)]
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with writing("the projector", folder, "--projector"), SummaryWriter(folder) as writer:
        for layer, of_layer in enumerate(vectors.vectors):
            writer.add_embedding(
                of_layer,
                metadata=rows if len(columns) > 1 else [row[0] for row in rows],
                metadata_header=columns if len(columns) > 1 else None,
                tag=f"layer {layer}",
            )


def _one_line(text: str) -> str:
    """Returns a text without the tabs that separate the columns of its file."""
    return " ".join(text.split())
