"""The checkpoints of training runs: finding them, and reading them without running code."""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bert_lightning.errors import UserError

CHECKPOINT_FORMAT = 2
"""The version of a checkpoint's entry `bert_lightning`, which makes a model usable by itself."""
BEST, LAST = "best.ckpt", "last.ckpt"
"""Links in a run's `checkpoints` to the file with the lowest validation loss and to the newest.

Where a file system has no links, they are files with the name of the checkpoint.
"""

_LONGEST_NAME = 64
"""Bytes of a link that is a file; no checkpoint is that small."""


def find_checkpoints(path: Path) -> list[Path]:
    """Returns the checkpoints of a file, a run folder, or the newest run in a folder of runs.

    The best comes first, then the others from the newest to the oldest; a UserError without any.
    """
    if path.is_file():
        return [_linked(path)]
    own = [path / "checkpoints", path]
    places = [*own, *path.glob("*/checkpoints"), *path.glob("*/*/checkpoints")]
    runs = [found for place in places if (found := _in_folder(place))]
    if not runs:
        raise UserError(
            f"{path} has no checkpoint: neither checkpoints/best.ckpt nor checkpoints/last.ckpt is "
            "here or up to 2 folders below, and there is no config.json of a model in Hugging "
            "Face's format; train first, or choose another folder"
        )
    if runs[0][0].parent in [place.resolve() for place in own]:
        return runs[0]
    return max(runs, key=lambda found: max(file.stat().st_mtime_ns for file in found))


def _in_folder(folder: Path) -> list[Path]:
    """Returns the files of a folder, each once, because `best.ckpt` and `last.ckpt` are links."""
    named = sorted(folder.glob("*.ckpt"), key=lambda file: (file.name != BEST, -step_of(file)))
    return list(dict.fromkeys(file for file in map(_linked, named) if file.exists()))


def _linked(file: Path) -> Path:
    """Returns the checkpoint that a link names, whichever kind it is; any other file itself."""
    small = file.is_file() and file.stat().st_size <= _LONGEST_NAME
    if file.name in (BEST, LAST) and small and not file.is_symlink():
        name = re.fullmatch(rb"(step=\d+\.ckpt)\s*", file.read_bytes())
        return file.with_name(name[1].decode()) if name else file
    return file.resolve()


def step_of(checkpoint: Path) -> int:
    """Returns the optimizer step in the name of a checkpoint, or -1 if there is none."""
    step = re.search(r"step=(\d+)", checkpoint.resolve().name)
    return int(step[1]) if step else -1


def checkpoints_by_step(folder: Path) -> list[Path]:
    """Returns the checkpoint files of a run, the newest first."""
    return sorted((folder / "checkpoints").glob("step=*.ckpt"), key=step_of, reverse=True)


def manifest_path(checkpoint: Path) -> Path:
    """Returns the path of a checkpoint's manifest."""
    return Path(f"{checkpoint.resolve()}.json")


def read_manifest(checkpoint: Path) -> Mapping[str, Any] | None:
    """Reads a checkpoint's step, size, SHA-256 and validation loss; None without a manifest."""
    try:
        manifest = json.loads(manifest_path(checkpoint).read_bytes())
        int(manifest["bytes"]), str(manifest["sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(
            f"{checkpoint} is corrupt (its manifest {manifest_path(checkpoint)} cannot be read): "
            "use another checkpoint"
        ) from error
    return manifest


class CorruptCheckpointError(UserError):
    """A checkpoint that is truncated, or has changed since it was written."""


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Reads a checkpoint, as tensors and plain types only; a UserError if it cannot be used."""
    try:
        if reason := _corruption(path):
            raise CorruptCheckpointError(f"{path} is corrupt ({reason}): use another checkpoint")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path.absolute()} does not exist") from None
    except pickle.UnpicklingError:
        raise UserError(  # torch's own message advises to disable the check
            f"{path} is refused: it holds Python objects, which can run code when loaded; "
            "a checkpoint of bert-lightning holds tensors and plain types only"
        ) from None
    except RuntimeError as error:
        raise _foreign(path, "not a file that torch can read") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not isinstance(checkpoint, dict):
        raise _foreign(path, f"a {type(checkpoint).__name__}")
    description = checkpoint.get("bert_lightning")
    if not isinstance(description, dict) or "state_dict" not in checkpoint:
        names = ", ".join(str(key) for key in list(checkpoint)[:6])
        raise _foreign(path, f"a dict with the entries {names or '(none)'}")
    if (version := description.get("format")) != CHECKPOINT_FORMAT:
        raise UserError(
            f"{path} has format {version}, and this version of bert-lightning reads format "
            f"{CHECKPOINT_FORMAT}: use the version that wrote it"
        )
    return checkpoint


def _corruption(path: Path) -> str:
    """Returns how the file is corrupted, or `""`; torch itself verifies no checksum."""
    manifest, size = read_manifest(path), path.stat().st_size
    if manifest is not None:
        if size != manifest["bytes"]:
            return f"{size} bytes of {manifest['bytes']}"
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == manifest["sha256"]
        return "" if same else "its SHA-256 is not the one that its manifest states"
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(1) == pickle.PROTO:
                raise pickle.UnpicklingError
        return f"{size} bytes that are not a complete torch file"
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # a corrupted directory of an archive raises almost anything
        return f"{size} bytes, unreadable as a torch file: {error}"
    return f"the checksum of {entry} does not match" if entry else ""


def _foreign(path: Path, found: str) -> UserError:
    return UserError(
        f"{path} is not a checkpoint of bert-lightning: it should be a torch file of a dict with "
        f"'state_dict' and 'bert_lightning' (format {CHECKPOINT_FORMAT}), but it is {found}"
    )
