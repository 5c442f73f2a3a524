"""The Hugging Face Hub: whether it answers, which names are valid, and the files of a model."""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

HUB_SECONDS = 6
"""Seconds after which a hub that has not answered counts as out of reach."""

WEIGHTS = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Files that hold a model's weights, or list the files that do, in order of preference."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_FILES = [
    *("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    *("added_tokens.json", "special_tokens_map.json"),
    *("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
]
_PICKLED = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]


class UnavailableError(Exception):
    """A data set or a model is unavailable at present; the message says why."""


def is_hub_name(text: str) -> bool:
    """Whether a text can be a name on the hub, not only a path."""
    return _NAME.fullmatch(text) is not None and not text.endswith((".json", ".ckpt"))


def model_out_of_reach(name: str) -> str | None:
    """Asks the hub for a model; returns why it does not answer, or None if it does."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return _why_unanswered(partial(HfApi().model_info, name))


def dataset_out_of_reach(repository: str, revision: str | None) -> str | None:
    """Asks the hub for a data set; returns why it does not answer, or None if it does."""
    from huggingface_hub import HfApi

    return _why_unanswered(partial(HfApi().dataset_info, repository, revision=revision))


def _why_unanswered(ask: Callable[..., object]) -> str | None:
    """A thread bounds the time: the hub's libraries retry for minutes, a name server may hang."""
    answer: list[str | None] = []

    def listen() -> None:
        try:
            ask(timeout=HUB_SECONDS)
            answer.append(None)
        except Exception as error:
            answer.append(_first_line(error))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answer[0] if answer else f"no answer within {HUB_SECONDS} s"


def model_folder(name: str) -> Path:
    """Returns the folder of a model's config, weights and tokenizer, from the cache or the hub.

    Raises:
        UnavailableError: neither has it; decided within seconds.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with suppress(LocalEntryNotFoundError):
        cached = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
        if _is_complete(cached):
            return cached
    if reason := model_out_of_reach(name):
        raise UnavailableError(reason)
    try:
        folder = Path(snapshot_download(name, allow_patterns=_FILES))
        if not _is_complete(folder):
            folder = Path(snapshot_download(name, allow_patterns=[*_FILES, *_PICKLED]))
    except Exception as error:  # the hub's library raises a dozen types
        raise UnavailableError(_first_line(error)) from error
    return folder


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]


def _is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in WEIGHTS)
