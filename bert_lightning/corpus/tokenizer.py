"""Tokenizers: read from a file or the hub, and checked."""

from pathlib import Path

from tokenizers import Encoding as Encoding
from tokenizers import Tokenizer as Tokenizer
from tokenizers.processors import TemplateProcessing

from bert_lightning.errors import UserError
from bert_lightning.hub import is_hub_name, model_out_of_reach
from bert_lightning.special_tokens import CLS, SEP, SPECIAL_TOKENS


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Reads a `tokenizer.json`, or the tokenizer of a model on the Hugging Face hub.

    Raises:
        UserError: there is no such file, it is not a tokenizer, it lacks a special token, or the
            hub cannot be reached, which is decided within seconds.
    """
    file, name = Path(path).expanduser(), f"tokenizer.path={path}"
    if file.is_file():
        return made_ready(_from_file(name, file), name)
    if is_hub_name(str(path)) and not file.exists():
        return made_ready(_from_hub(str(path)), name)
    raise UserError(
        f"{name}: there is no file {file.absolute()} (the working directory is {Path.cwd()}); "
        "give a tokenizer.json, a name on the Hugging Face hub, or tokenizer.path=null to build "
        "one from the corpus"
    )


def made_ready(tokenizer: Tokenizer, name: str) -> Tokenizer:
    """Makes sure of the special tokens and BERT's layout; turns padding and truncation off."""
    require_special_tokens(tokenizer, name)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    add_template(tokenizer)
    return tokenizer


def require_special_tokens(tokenizer: Tokenizer, name: str) -> None:
    """Raises a UserError that calls the tokenizer by `name` if it lacks a special token."""
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise UserError(
            f"{name} has no token {', '.join(missing)}; "
            f"pretraining needs {', '.join(SPECIAL_TOKENS)}"
        )


def load_tokenizer_text(text: str) -> Tokenizer:
    """Makes a tokenizer from the text of a `tokenizer.json`; a ValueError says if it is not one."""
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(str(error)) from error


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Returns the id of a special token, which every tokenizer used here has."""
    number = tokenizer.token_to_id(token)
    assert number is not None, token
    return number


def rows_needed(tokenizer: Tokenizer) -> int:
    """Returns the number of rows that an embedding needs: the highest id, plus one."""
    return max(tokenizer.get_vocab().values()) + 1


def add_template(tokenizer: Tokenizer) -> None:
    """Sets the layout of BERT: `[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`."""
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(token, special_id(tokenizer, token)) for token in (CLS, SEP)],
    )


def _from_file(name: str, file: Path) -> Tokenizer:
    try:
        return load_tokenizer_text(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{name} is not a tokenizer.json: {error}") from error


def _from_hub(name: str) -> Tokenizer:
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "tokenizer.json")
        if isinstance(cached, str):
            return _from_file(f"tokenizer.path={name}", Path(cached))
        reason = model_out_of_reach(name)
        if reason is None:
            return Tokenizer.from_pretrained(name)
    except UserError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        reason = f"{error}".split("\n", 1)[0]
    raise UserError(
        f"tokenizer.path={name}: there is no file {Path(name).absolute()}, and the tokenizer of "
        f"that name is neither in the cache nor available from the Hugging Face hub ({reason}); "
        "tokenizer.path=FILE reads a local tokenizer.json, tokenizer.path=null builds one from "
        "the corpus"
    )
