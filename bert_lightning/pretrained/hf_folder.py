"""Models in Hugging Face's format: config.json, weights and tokenizer in one folder."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bert_lightning.errors import UserError
from bert_lightning.hub import WEIGHTS

CONFIG = "config.json"
SAFETENSORS = WEIGHTS[0]


def read_config(folder: Path) -> Mapping[str, Any]:
    """Reads the config.json of a folder; a UserError if it is not a JSON object."""
    file = folder / CONFIG
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file} contains a {type(values).__name__}, not a model's options")
    return values


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Reads a folder's weights, safetensors if there are any; a UserError if they are unusable."""
    found = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise UserError(f"{folder} has no weights: it needs one of {', '.join(WEIGHTS)}")
    files = [found]
    if found.endswith(".index.json"):
        try:
            index = json.loads((folder / found).read_text(encoding="utf-8"))
            files = sorted({Path(name).name for name in index["weight_map"].values()})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{folder / found} is not an index of weights ({error!r})") from error
    weights: dict[str, Tensor] = {}
    for name in files:
        weights |= _read_file(folder / name)
    return weights


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".bin":
        return _read_pickled(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is missing or corrupt ({error})") from error


def _read_pickled(file: Path) -> dict[str, Tensor]:
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(  # torch's own message advises to disable the check
            f"{file} is refused: it holds Python objects, which can run code when loaded; "
            "ask its author for model.safetensors"
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{file} is missing or corrupt ({error})") from error
    if not isinstance(weights, dict) or not all(torch.is_tensor(v) for v in weights.values()):
        raise UserError(f"{file} does not contain a dict of weights")
    return weights
