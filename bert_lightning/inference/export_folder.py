"""A folder in Hugging Face's format: written, loaded again and compared, and only then in place."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bert_lightning.batch import MASK, PAD, SPECIAL_TOKENS, UNK
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.errors import UserError
from bert_lightning.inference.represent import Text, segments, tokenize
from bert_lightning.model.hf_names import OWN_MODULE, OWN_TYPE
from bert_lightning.pretrained.hf_folder import CONFIG, SAFETENSORS, read_config

TOLERANCE = 1e-5
"""The largest allowed difference of outputs: absolute up to 1, above that relative to them."""
TOKENIZER, TOKENIZER_CONFIG, CARD = "tokenizer.json", "tokenizer_config.json", "README.md"
FILES = frozenset({CONFIG, SAFETENSORS, TOKENIZER, TOKENIZER_CONFIG, CARD})
MODULES, MODULES_CONFIG = "modules.json", "sentence_bert_config.json"
POOLING, NORMALIZE = "1_Pooling", "2_Normalize"
"""What sentence-transformers reads beside them; the last is a name without a folder."""
ONNX = "model.onnx"
MODELING = f"{OWN_MODULE}.py"
"""What transformers runs of a model that it has no class for."""
_OWN = FILES | {MODULES, MODULES_CONFIG, POOLING, ONNX, MODELING}
_MARK = "bert_lightning_export"
"""The key of config.json that marks an export; its value is the version of the layout."""
_TRICKY = "The Crane's café flew 3.5 @-@ miles<unk>: [MASK], naïve ##ly!"
"""Text on which tokenizers that are not quite equal differ."""


class Checked(NamedTuple):
    """The outcome of loading an export again."""

    by: str
    """`transformers`, `sentence-transformers`, `onnxruntime` or `bert-lightning` itself."""
    difference: float
    """The largest absolute difference of any output."""


class Exported(NamedTuple):
    """The outcome of an export."""

    folder: Path
    checked_by: str
    difference: float
    """The largest absolute difference of any output."""


def export_folder(
    folder: str | PathLike[str],
    write: Callable[[Path, str], None],
    check: Callable[[Path], Checked],
) -> Exported:
    """Has a model written to a temporary folder and checked, and renames that to `folder`.

    Args:
        folder: new, empty, or an earlier export, which it replaces.
        write: gets the temporary folder, and the name of the final one.
        check: loads the model from the temporary folder; a UserError if it is another.

    Raises:
        UserError: the folder holds something else or cannot be written, or the check fails.
    """
    target = Path(folder).expanduser().absolute()
    _check_free(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _writing(target):
            temporary.mkdir(parents=True)
            write(temporary, target.name)
        checked = check(temporary)
        with _writing(target):
            old = temporary.with_suffix(".old")
            if target.exists():
                target.rename(old)
            temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(target, *checked)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(f"{target} cannot be written: {error}") from error


def _check_free(target: Path) -> None:
    if not target.exists():
        return
    content = {path.name for path in target.iterdir()} if target.is_dir() else {"a file"}
    config = read_config(target) if CONFIG in content else {}
    # What transformers saved of an export, maybe trained further, keeps the mark.
    mine = content <= _OWN and _MARK in config and "transformers_version" not in config
    if content and not mine:
        raise UserError(
            f"{target} is neither empty nor an export of bert-lightning (it has "
            f"{', '.join(sorted(content - _OWN or content)[:4])}): choose a new or empty folder"
        )


def write_model(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], tokenizer: Tokenizer
) -> None:
    """Writes the config, the weights in float32, the tokenizer, and code if the model needs it."""
    weights = {name: value.float().contiguous() for name, value in state.items()}
    save_file(weights, folder / SAFETENSORS, metadata={"format": "pt"})
    tokenizer.save(str(folder / TOKENIZER))
    # safetensors lets only the owner read; the other file has what the umask allows.
    (folder / SAFETENSORS).chmod((folder / TOKENIZER).stat().st_mode)
    options = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # it reads tokenizer.json unchanged
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS},
    }
    write_json(folder / CONFIG, {**config, "pad_token_id": tokenizer.token_to_id(PAD), _MARK: 1})
    write_json(folder / TOKENIZER_CONFIG, options)
    if config["model_type"] == OWN_TYPE:
        shutil.copyfile(Path(__file__).with_name(MODELING), folder / MODELING)


def write_json(file: Path, values: Any) -> None:
    """Writes plain values as a person reads them."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write_text(f"{text}\n", encoding="utf-8")


def compared(
    by: str,
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    tolerance: float = TOLERANCE,
) -> Checked:
    """Compares outputs by name with those of the written files; a UserError if they differ."""
    largest = 0.0
    for name, own in ours.items():
        difference = float((own - theirs[name]).abs().max())
        allowed = tolerance * max(1.0, float(own.abs().max()))
        if not difference <= allowed:  # catches NaN too
            raise UserError(
                f"the export does not compute what the model does: its {name}, loaded by {by}, "
                f"differ by {difference:.2g}, more than {allowed:.2g}; nothing was written"
            )
        largest = max(largest, difference)
    return Checked(by, largest)


def loaded_by_transformers(
    folder: Path, cls: str, tokenizer: Tokenizer, texts: Sequence[Text]
) -> tuple[Any, Any] | None:
    """Returns the model by an Auto class of transformers, and the texts as its padded batch.

    None where transformers is not installed; a UserError if it reads text otherwise, or does not
    know the architecture.
    """
    try:
        import transformers
    except ImportError:
        return None
    with quiet_loading():
        theirs: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    read: list[Text] = [*texts, _TRICKY, (_TRICKY, "It left.")]
    for text, own in zip(read, tokenize(tokenizer, read, 2**31, truncate=False), strict=True):
        other = theirs(*segments(text), verbose=False)  # of texts longer than the model reads
        if (own.ids, own.type_ids) != (other["input_ids"], other["token_type_ids"]):
            raise UserError(
                f"the export does not tokenize as the model does: transformers turns {text!r} into "
                f"{other['input_ids']}, and the model's own tokenizer into {own.ids}; nothing was "
                "written"
            )
    try:
        with quiet_loading():
            model: Any = getattr(transformers, cls).from_pretrained(folder, trust_remote_code=True)
    except ValueError as error:
        raise UserError(
            f"transformers cannot load the export: {error}; a new architecture needs lines in "
            f"{Path(__file__).with_name(MODELING)}; nothing was written"
        ) from error
    batch = theirs.pad([theirs(*segments(text)) for text in texts], return_tensors="pt")
    return model.eval(), batch


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Lets transformers load the model of a folder without a trace.

    It draws no progress bar, and what it copies of the folder's code goes to a temporary place and
    not to the user's cache.
    """
    from transformers import dynamic_module_utils
    from transformers.utils import logging as progress

    shown, cache = progress.is_progress_bar_enabled(), dynamic_module_utils.HF_MODULES_CACHE
    progress.disable_progress_bar()
    with TemporaryDirectory() as temporary:
        dynamic_module_utils.HF_MODULES_CACHE = temporary
        try:
            yield
        finally:
            dynamic_module_utils.HF_MODULES_CACHE = cache
            if temporary in sys.path:
                sys.path.remove(temporary)
            if shown:
                progress.enable_progress_bar()


def sample_texts(tokenizer: Tokenizer, max_length: int) -> list[Text]:
    """Returns a text and two pairs of unequal lengths, of words of one token each."""
    room = min(max_length - 3, 24)
    vocabulary = tokenizer.get_vocab()
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    words = [
        name
        for name in (names[place] for place in np.linspace(0, len(names) - 1, 200).astype(int))
        if name not in SPECIAL_TOKENS and len(tokenizer.encode(name, add_special_tokens=False)) == 1
    ]
    words = (words or [UNK]) * 40
    short, long = max(1, room // 4), max(1, room // 2)
    return [
        " ".join(words[:short]),
        (" ".join(words[short : short + long]), MASK),
        (MASK, " ".join(words[-long:])),
    ]
