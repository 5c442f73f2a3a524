"""Models on the Hugging Face hub: which names can be one, and the files of one."""

import re
from pathlib import Path

from bert_lightning.data.tables import HUB_SECONDS, UnavailableError, why_unanswered

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files that hold a model's weights, or say which files do; the one to prefer first."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_NO_NAME = (".json", ".ckpt")
_FILES = [
    *("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    *("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
]
_OLD = [*_FILES, "pytorch_model.bin"]


def is_hub_name(text: str) -> bool:
    """Whether this can be a name on the hub, rather than only a path."""
    return _NAME.fullmatch(text) is not None and not text.endswith(_NO_NAME)


def out_of_reach(name: str) -> str | None:
    """Asks the hub for the model's entry; says why it does not answer, if it does not."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return why_unanswered(lambda: HfApi().model_info(name, timeout=HUB_SECONDS))


def model_folder(name: str) -> Path:
    """The folder of a model's config, weights and tokenizer, from the local cache or the hub.

    Raises:
        UnavailableError: where neither has it; decided within seconds.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
        if _is_whole(cached):
            return cached
    except LocalEntryNotFoundError:
        pass
    if reason := out_of_reach(name):
        raise UnavailableError(reason)
    try:
        folder = Path(snapshot_download(name, allow_patterns=_FILES))
        return folder if _is_whole(folder) else Path(snapshot_download(name, allow_patterns=_OLD))
    except Exception as error:  # the hub's library raises a dozen types
        raise UnavailableError(f"{type(error).__name__}: {error}".split("\n", 1)[0]) from error


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in WEIGHTS)
