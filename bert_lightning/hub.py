"""The Hugging Face Hub: whether it answers, which names are valid, and the files of a model."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

HUB_SECONDS = 6
"""Seconds after which a hub that has not answered counts as out of reach."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files that hold a model's weights, or list the files that do, in order of preference."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_FILE_ENDINGS = (".json", ".ckpt")
_FILES = [
    *("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    *("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
]
_WITH_PICKLED = [*_FILES, "pytorch_model.bin"]


class UnavailableError(Exception):
    """A data set or a model is unavailable at present; the message says why."""


def is_hub_name(text: str) -> bool:
    """Whether a text can be a name on the hub, not only a path."""
    return _NAME.fullmatch(text) is not None and not text.endswith(_FILE_ENDINGS)


def model_out_of_reach(name: str) -> str | None:
    """Asks the hub for a model; returns why it does not answer, or None if it does."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return why_unanswered(lambda: HfApi().model_info(name, timeout=HUB_SECONDS))


def dataset_out_of_reach(repository: str, revision: str) -> str | None:
    """Asks the hub for a data set; returns why it does not answer, or None if it does."""
    from huggingface_hub import HfApi

    return why_unanswered(
        lambda: HfApi().dataset_info(repository, revision=revision, timeout=HUB_SECONDS)
    )


def why_unanswered(ask: Callable[[], object]) -> str | None:
    """Calls `ask`; returns why there is no answer, or None if there is one.

    A thread bounds the time: the hub's libraries retry for minutes, and a name server may hang.
    """
    answer: list[str | None] = []

    def listen() -> None:
        try:
            ask()
            answer.append(None)
        except Exception as error:
            answer.append(f"{type(error).__name__}: {error}".split("\n", 1)[0])

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

    try:
        cached = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
        if _is_complete(cached):
            return cached
    except LocalEntryNotFoundError:
        pass
    if reason := model_out_of_reach(name):
        raise UnavailableError(reason)
    try:
        folder = Path(snapshot_download(name, allow_patterns=_FILES))
        return (
            folder
            if _is_complete(folder)
            else Path(snapshot_download(name, allow_patterns=_WITH_PICKLED))
        )
    except Exception as error:  # the hub's library raises a dozen types
        raise UnavailableError(f"{type(error).__name__}: {error}".split("\n", 1)[0]) from error


def _is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in WEIGHTS)
