"""Tokenizers: read from a file or the hub, and what is asked of them.

This module and `vocab` are the only importers of `tokenizers`.
"""

import re
from pathlib import Path

from tokenizers import Tokenizer as Tokenizer
from tokenizers.processors import TemplateProcessing

from bert_lightning.batch import CLS, SEP, SPECIAL_TOKENS, UNK
from bert_lightning.data.tables import HUB_SECONDS, why_unanswered
from bert_lightning.errors import UserError

_SPACE_MARKS = ("Ġ", "▁")
"""What stands for the space before a word, in the vocabularies of RoBERTa and of ALBERT."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Reads an existing `tokenizer.json`, or that of a name on the Hugging Face hub.

    Raises:
        UserError: where there is no such file, it is none, it lacks one of the special tokens, or
            the hub cannot be reached; decided within seconds.
    """
    file = Path(path).expanduser()
    if file.is_file():
        tokenizer = _from_file(str(path), file)
    elif _HUB_NAME.fullmatch(str(path)) and file.suffix != ".json" and not file.exists():
        tokenizer = _from_hub(str(path))
    else:
        raise UserError(
            f"tokenizer.path={path}: there is no file {file.absolute()} "
            f"(the working directory is {Path.cwd()}); give a tokenizer.json, a name on the "
            "Hugging Face hub, or tokenizer.path=null to build one from the corpus"
        )
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise UserError(
            f"tokenizer.path={path} has no token {', '.join(missing)}; "
            f"pre-training needs {', '.join(SPECIAL_TOKENS)}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    add_template(tokenizer)
    return tokenizer


def load_tokenizer_text(text: str) -> Tokenizer:
    """Makes a tokenizer of the text of a `tokenizer.json`.

    Raises:
        ValueError: where the text is no such thing.
    """
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(str(error)) from error


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a special token, which every tokenizer used here has."""
    number = tokenizer.token_to_id(token)
    assert number is not None, token
    return number


def add_template(tokenizer: Tokenizer) -> None:
    """Makes it lay texts out as `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`, as BERT does."""
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(token, special_id(tokenizer, token)) for token in (CLS, SEP)],
    )


def encode_plain(tokenizer: Tokenizer, sentences: list[str]) -> list[list[int]]:
    """Turns sentences into ids without `[CLS]` and `[SEP]`; a "[SEP]" in the text is mere text.

    Where the vocabulary would find it as a whole word all the same, it is an unknown word.
    """
    unknown = special_id(tokenizer, UNK)
    special = {special_id(tokenizer, token) for token in SPECIAL_TOKENS} - {unknown}
    tokenizer.encode_special_tokens = True
    try:
        encodings = tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
        sequences = [encoding.ids for encoding in encodings]
    finally:
        tokenizer.encode_special_tokens = False
    return [
        ids if special.isdisjoint(ids) else [unknown if i in special else i for i in ids]
        for ids in sequences
    ]


def _from_file(name: str, file: Path) -> Tokenizer:
    try:
        return load_tokenizer_text(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"tokenizer.path={name} is not a tokenizer.json: {error}") from error


def _from_hub(name: str) -> Tokenizer:
    """The tokenizer of a model on the hub, from the local cache or the hub."""
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "tokenizer.json")
        if not isinstance(cached, str):
            reason = _hub_out_of_reach(name)
            if reason is None:
                return Tokenizer.from_pretrained(name)
    except Exception as error:  # tokenizers raises plain Exception
        cached, reason = None, f"{error}".split("\n", 1)[0]
    if isinstance(cached, str):
        return _from_file(name, Path(cached))
    raise UserError(
        f"tokenizer.path={name}: there is no file {Path(name).absolute()}, and the tokenizer of "
        f"that name is neither in the cache nor to be had from the Hugging Face hub ({reason}); "
        "tokenizer.path=FILE takes a local tokenizer.json, tokenizer.path=null builds one from "
        "the corpus"
    )


def _hub_out_of_reach(name: str) -> str | None:
    """Asks the hub for the model's entry; says why it does not answer, if it does not."""
    from huggingface_hub import HfApi, constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return why_unanswered(lambda: HfApi().model_info(name, timeout=HUB_SECONDS))
