"""Pretrained models from runs, checkpoints, Hugging Face folders and the hub."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bert_lightning.config import ModelConfig
from bert_lightning.config.plain import from_plain
from bert_lightning.corpus.tokenizer import Tokenizer, load_tokenizer_text
from bert_lightning.errors import UserError
from bert_lightning.hub import UnavailableError, is_hub_name, model_folder
from bert_lightning.model.bert import OWN_OBJECTIVES, BertForPreTraining
from bert_lightning.model.hf_names import (
    DECODER,
    HEADS,
    OWN_TYPE,
    WORDS,
    from_config,
    from_hugging_face,
)
from bert_lightning.model.objective import OBJECTIVES
from bert_lightning.pretrained.checkpoints import (
    CorruptCheckpointError,
    find_checkpoints,
    read_checkpoint,
)
from bert_lightning.pretrained.hf_folder import CONFIG, read_config, read_weights
from bert_lightning.pretrained.hf_tokenizer import load_folder_tokenizer
from bert_lightning.pretrained.task_head import TASK_HEAD, take_task

_KINDS = (
    "a run folder, a .ckpt file, a folder of runs, a folder in Hugging Face's format, or a name "
    "on its hub"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PretrainedSource:
    """A pretrained model that has been read but not built."""

    name: str
    """The file or folder it was read from, or its name on the hub."""
    config: ModelConfig
    vocab_size: int
    """Rows of the embedding."""
    state: dict[str, Tensor]
    """The weights, under the names of this package."""
    tokenizer: Tokenizer
    missing_heads: frozenset[str] = frozenset()
    """Heads without weights; a bare encoder lacks all of them."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """A checkpoint's description of its run; of other sources at most their `task`."""


def open_source(path: str | PathLike[str]) -> PretrainedSource:
    """Reads a model from this machine, or from the hub if no such path exists.

    Of a run folder the checkpoint with the lowest validation loss is read, of a folder of runs the
    newest run. A corrupted checkpoint in a folder is skipped with a warning.

    Raises:
        UserError: nothing is found, or it is corrupted, unsafe to load, or not supported.
    """
    if "://" in str(path):
        raise UserError(
            f"{path} is a URL, but models are read from this machine or by a name on the Hugging "
            "Face Hub: download it and give the path of the file"
        )
    local = Path(path).expanduser().absolute()
    if (local / CONFIG).is_file():
        return _read_folder(local, str(local))
    if local.exists():
        return _read_preferred(local)
    missing = f"{local} does not exist (the working directory is {Path.cwd()})"
    if not is_hub_name(str(path)):
        raise UserError(f"{missing}: give {_KINDS}")
    try:
        return _read_folder(model_folder(str(path)), str(path))
    except UnavailableError as unavailable:
        raise UserError(
            f"{missing}, and a model named {path} is neither in the cache nor available from the "
            f"Hugging Face Hub ({unavailable}): give {_KINDS}; a model that was loaded once stays "
            "in the cache"
        ) from unavailable


def checkpoints_of_run(run: str | PathLike[str]) -> tuple[Path, list[Path]]:
    """Returns a run's folder and all its checkpoints.

    Raises:
        UserError: there is no run.
    """
    path = Path(run).expanduser()
    if not path.is_dir() or (path / CONFIG).is_file():
        raise UserError(
            f"{run} is not the folder of a run, all of whose checkpoints are to be read: give "
            "runs/NAME, since a single model shows no steps"
        )
    found = find_checkpoints(path)
    return found[0].parent.parent, found


def sources_of_steps(checkpoints: Sequence[Path]) -> Iterator[tuple[int, PretrainedSource]]:
    """Yields the optimizer step and the model of each checkpoint, each step once, in their order.

    A corrupted one is skipped with a warning. Where a run was copied without its links, `best.ckpt`
    and `last.ckpt` are files too, of a step that others have.

    Raises:
        CorruptCheckpointError: all of them are corrupted.
    """
    found: set[int] = set()
    for checkpoint in checkpoints:
        try:
            source = open_source(checkpoint)
        except CorruptCheckpointError as error:
            if checkpoint == checkpoints[-1] and not found:
                raise
            _log.warning("%s; skipped", error)
            continue
        step = source.about["step"] or 0
        if step not in found:
            found.add(step)
            yield step, source


def build(source: PretrainedSource) -> BertForPreTraining:
    """Builds the model, ready for use; missing heads have random weights."""
    try:
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = BertForPreTraining(source.config, source.vocab_size)
        load_into(model, source.state, source.missing_heads)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise misfit(source.name, error) from error
    return model.eval()


def load_into(
    model: BertForPreTraining, state: Mapping[str, Tensor], missing_heads: frozenset[str]
) -> None:
    """Overwrites the weights of a model, all but those of heads that the state lacks.

    The head of a task that the state may have belongs to no pretrained model.
    """
    optional = {f"{name}_head" for name in OBJECTIVES} - {name.partition(".")[0] for name in state}
    optional |= {*missing_heads, OWN_OBJECTIVES}
    state = {name: value for name, value in state.items() if not name.startswith(TASK_HEAD)}
    initial = model.state_dict().items()
    kept = {name: value for name, value in initial if name.partition(".")[0] in optional}
    model.load_state_dict({**kept, **state})


def _read_preferred(path: Path) -> PretrainedSource:
    candidates = find_checkpoints(path)
    for candidate in candidates[:-1]:
        try:
            return _read_checkpoint(candidate)
        except CorruptCheckpointError as error:
            _log.warning("%s; skipped", error)
    return _read_checkpoint(candidates[-1])


def _read_checkpoint(path: Path) -> PretrainedSource:
    checkpoint = read_checkpoint(path)
    description = dict(checkpoint["bert_lightning"])
    try:
        tokenizer = load_tokenizer_text(description.pop("tokenizer"))
        config = from_plain(ModelConfig, description["model"])
        vocab_size = description["vocab_size"]
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise misfit(str(path), error) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    state = {
        name.removeprefix("model."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("model.")
        and not name.startswith(f"model.{OWN_OBJECTIVES}")  # they serve training alone
    }
    about = {**description, "step": checkpoint.get("global_step")}
    return PretrainedSource(str(path), config, vocab_size, state, tokenizer, _missing(state), about)


def _missing(state: Mapping[str, Tensor]) -> frozenset[str]:
    return frozenset(HEADS) - {name.partition(".")[0] for name in state}


def _read_folder(folder: Path, name: str) -> PretrainedSource:
    values = read_config(folder)
    try:
        config, vocab_size = from_config(values)
        state = read_weights(folder)
        task, head = take_task(values, state)
        missing, left_out = _missing(state), tuple[str, ...]()
        if values.get("model_type") != OWN_TYPE:
            state, missing, left_out = from_hugging_face(state, config.num_hidden_layers)
        elif WORDS in state:
            state[DECODER] = state[WORDS]
    except UserError as error:
        raise UserError(f"{name} cannot be loaded: {error}") from error
    if left_out:
        _log.warning("%s: left out %s", name, ", ".join(left_out))
    tokenizer = load_folder_tokenizer(folder, values)
    about = {"task": task} if task else {}
    return PretrainedSource(name, config, vocab_size, {**state, **head}, tokenizer, missing, about)


def misfit(name: str, error: Exception) -> UserError:
    """Words the error of weights that are not those of the model that they are to be."""
    return UserError(
        f"{name} does not fit this version of bert-lightning ({type(error).__name__}: {error})"
        ": use the version that wrote it"
    )
