"""A trained model in one object, and the way to it from what a training run left behind."""

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bert_lightning.batch import CHECKPOINT_FORMAT
from bert_lightning.config import ModelConfig
from bert_lightning.config.plain import from_plain
from bert_lightning.data.tokenizer import load_tokenizer_text
from bert_lightning.errors import UserError
from bert_lightning.inference import predict
from bert_lightning.inference.predict import Fill
from bert_lightning.inference.represent import Representation, Text, represent
from bert_lightning.model.bert import BertForPreTraining

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PREFIX = "model."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PretrainedBert:
    """A model with its tokenizer, ready for text."""

    model: BertForPreTraining
    tokenizer: "Tokenizer"

    def __post_init__(self) -> None:
        rows = self.model.encoder.embeddings.word.num_embeddings
        if self.tokenizer.get_vocab_size() > rows:
            raise UserError(
                f"the tokenizer has {self.tokenizer.get_vocab_size()} tokens and the model only "
                f"{rows} rows for them: use the tokenizer that the model was trained with"
            )

    def encode(
        self, first: str, second: str | None = None, *, truncate: bool = False
    ) -> Representation:
        """The vectors of a text, or of a pair.

        Raises:
            UserError: a text is empty, or longer than the model reads and `truncate` is not set.
        """
        text = first if second is None else (first, second)
        return self.encode_many([text], truncate=truncate)[0]

    def encode_many(self, texts: Sequence[Text], *, truncate: bool = False) -> list[Representation]:
        """The vectors of many texts or pairs, in one batch without padding; see :meth:`encode`."""
        return represent(self.model, self.tokenizer, texts, truncate=truncate)

    def fill_mask(self, text: str, top: int = 5, *, truncate: bool = False) -> list[Fill]:
        """The likeliest words for the one `[MASK]` of a text; see :func:`predict.fill_mask`."""
        return predict.fill_mask(self.model, self.tokenizer, text, top=top, truncate=truncate)

    def is_next(self, first: str, second: str, *, truncate: bool = False) -> float:
        """The probability that the second text follows the first."""
        return predict.is_next(self.model, self.tokenizer, first, second, truncate=truncate)


def load(path: str | PathLike[str]) -> PretrainedBert:
    """Loads a trained model from a run folder, a checkpoint, or a folder of runs.

    In a run folder the checkpoint with the lowest validation loss goes before the last one; in a
    folder of runs, the newest run is taken. A damaged checkpoint of a folder is passed over, with
    a warning.

    Raises:
        UserError: nothing is there, or it is damaged, not safe to load, or of another program.
    """
    candidates = find_checkpoints(path)
    for candidate in candidates[:-1]:
        try:
            return _loaded(candidate)
        except DamagedCheckpointError as error:
            _log.warning("%s; trying an earlier one", error)
    return _loaded(candidates[-1])


def _loaded(path: Path) -> PretrainedBert:
    bert = build(read_checkpoint(path), path)
    _log.info("loaded %s", path)
    return bert


def find_checkpoints(path: str | PathLike[str]) -> list[Path]:
    """The checkpoints that a path stands for, the one to prefer first; never none."""
    if "://" in str(path):
        raise UserError(
            f"{path} is a URL, and checkpoints are read from this machine only: "
            "download it and give the path of the file"
        )
    folder = Path(path).expanduser().absolute()
    if not folder.exists():
        raise UserError(
            f"{folder} does not exist (the working directory is {Path.cwd()}): "
            "give a run folder, a .ckpt file, or a folder of runs"
        )
    if folder.is_file():
        return [folder]
    places = [folder / "checkpoints", folder]
    places += [*folder.glob("*/checkpoints"), *folder.glob("*/*/checkpoints")]
    runs = [found for place in places if (found := sorted(place.glob("*.ckpt"), key=_preference))]
    if not runs:
        raise UserError(
            f"{folder} has no checkpoint: a run leaves checkpoints/last.ckpt and "
            "checkpoints/best*.ckpt, looked for here and up to 2 folders below; train first, or "
            "give another folder"
        )
    if runs[0][0].parent in places[:2]:
        return runs[0]
    return max(runs, key=lambda found: max(file.stat().st_mtime_ns for file in found))


def _preference(checkpoint: Path) -> tuple[bool, int, int]:
    """Orders the best before the last, and a later best before an earlier one."""
    step = re.search(r"step=(\d+)", checkpoint.name)
    return (
        not checkpoint.name.startswith("best"),
        -int(step[1]) if step else 1,
        -checkpoint.stat().st_mtime_ns,
    )


class DamagedCheckpointError(UserError):
    """A checkpoint that was cut short, or has changed since it was written."""


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Reads a checkpoint of this program, as tensors and plain types only."""
    try:
        if reason := _damage(path):
            raise DamagedCheckpointError(f"{path} is corrupt ({reason}): use another checkpoint")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(  # torch's own text advises to switch the check off
            f"{path} is refused: it holds Python objects, which can run code when loaded; "
            "a checkpoint of bert-lightning holds tensors and plain types only"
        ) from None
    except RuntimeError as error:
        raise _foreign(path, "no file that torch can read") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(checkpoint, dict):
        raise _foreign(path, f"a {type(checkpoint).__name__}")
    if not isinstance(checkpoint.get("bert_lightning"), dict) or "state_dict" not in checkpoint:
        names = ", ".join(str(key) for key in list(checkpoint)[:6])
        raise _foreign(path, f"a dict with the entries {names or '(none)'}")
    if checkpoint["bert_lightning"].get("format") != CHECKPOINT_FORMAT:
        raise UserError(
            f"{path} has format {checkpoint['bert_lightning'].get('format')}, and this version of "
            f"bert-lightning reads format {CHECKPOINT_FORMAT}: use the version that wrote it"
        )
    return checkpoint


def _damage(path: Path) -> str:
    """Says what is wrong with the archive, or nothing; torch itself checks no checksums."""
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(1) == pickle.PROTO:
                raise pickle.UnpicklingError
        return f"{size} bytes that are not a complete torch file"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # a damaged directory of an archive raises almost anything
        return f"{size} bytes, unreadable as a torch file: {error}"
    return f"the checksum of {damaged} does not match" if damaged else ""


def _foreign(path: Path, found: str) -> UserError:
    return UserError(
        f"{path} is not a checkpoint of bert-lightning: expected is a torch file of a dict with "
        f"'state_dict' and 'bert_lightning' (format {CHECKPOINT_FORMAT}), and this is {found}"
    )


def build(checkpoint: Mapping[str, Any], path: Path) -> PretrainedBert:
    """Makes the model and the tokenizer that a checkpoint describes."""
    described = checkpoint["bert_lightning"]
    try:
        config = from_plain(ModelConfig, described["model"])
        with torch.random.fork_rng(devices=[]):  # initial weights, to be overwritten
            model = BertForPreTraining(config, described["vocab_size"])
        model.load_state_dict(
            {
                name.removeprefix(_PREFIX): value
                for name, value in checkpoint["state_dict"].items()
                if name.startswith(_PREFIX)
            }
        )
        tokenizer = load_tokenizer_text(described["tokenizer"])
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{path} does not fit this version of bert-lightning ({type(error).__name__}: {error})"
            ": use the version that wrote it"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return PretrainedBert(model.eval(), tokenizer)
