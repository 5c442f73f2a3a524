"""The vectors of a word in its sentences, for the embedding projector of TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from bert_lightning.errors import UserError, writing
from bert_lightning.evaluation.sense_files import Occurrence
from bert_lightning.evaluation.senses import WordVectors

_CONFIG = "projector_config.pbtxt"


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
