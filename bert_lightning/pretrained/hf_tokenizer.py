"""The tokenizer of a folder in Hugging Face's format, of any age, with the ids of transformers.

For BERT's own classes transformers takes the vocabulary of tokenizer.json, or of vocab.txt, and
builds the rest anew from the other files. Here so too. What cannot be heeded is refused by name:
files that contradict each other, and settings without a counterpart.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from bert_lightning.batch import CLS, MASK, PAD, SEP, UNK
from bert_lightning.corpus.tokenizer import (
    load_tokenizer_text,
    made_ready,
    require_special_tokens,
)
from bert_lightning.errors import UserError

JSON, VOCAB, SETTINGS = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
ADDED, NAMED = "added_tokens.json", "special_tokens_map.json"
_BERT = {"BertTokenizer", "DistilBertTokenizer"}
_AS_WRITTEN = {"PreTrainedTokenizer", "TokenizersBackend"}
"""Classes for which tokenizer.json alone counts. A trailing "Fast" means nothing."""
_NAMES = {
    **{"bos_token": None, "eos_token": None},
    **{"unk_token": UNK, "sep_token": SEP, "pad_token": PAD, "cls_token": CLS, "mask_token": MASK},
}
"""The named special tokens, in the order in which transformers adds them, and BERT's own."""
_ONLY: dict[str, tuple[Any, ...]] = {
    "do_basic_tokenize": (True,),
    "never_split": (None, []),
    "wordpieces_prefix": ("##",),
    "clean_text": (True,),
    "split_special_tokens": (False,),
    "truncation_side": ("right",),
    "auto_map": (None,),
    "fast_tokenizer_files": (None, [], [JSON]),
}
"""Settings of which one value is supported; the first is the default."""
_log = logging.getLogger(__name__)


def load_folder_tokenizer(folder: Path, model_settings: Mapping[str, Any]) -> Tokenizer:
    """Reads the tokenizer of a folder; `model_settings` are those of its config.json.

    Raises:
        UserError: there is none, a file cannot be read, a special token is missing, two files
            contradict each other, or a setting is not supported.
    """
    try:
        return _load(folder, model_settings)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: the files of its tokenizer hold something unexpected "
            f"({type(error).__name__}: {error})"
        ) from error


def _load(folder: Path, model_settings: Mapping[str, Any]) -> Tokenizer:
    settings = _settings(folder)
    given = settings.get("tokenizer_class") or model_settings.get("tokenizer_class")
    kind = str(given or "BertTokenizer").removesuffix("Fast")
    file, vocab = folder / JSON, folder / VOCAB
    if not file.is_file() and not vocab.is_file():
        raise UserError(f"{folder} has no tokenizer: neither a {JSON} nor a {VOCAB}")
    whole = _whole(file) if file.is_file() else None
    if kind not in _BERT | _AS_WRITTEN or (kind in _AS_WRITTEN and whole is None):
        raise UserError(
            f"{folder}: tokenizer_class={given} is not supported: only BertTokenizer is, and "
            f"PreTrainedTokenizerFast with a {JSON}"
        )
    for name, allowed in _ONLY.items():
        if settings.get(name, allowed[0]) not in allowed:
            raise UserError(
                f"{folder / SETTINGS}: {name}={settings[name]} is not supported, only "
                f"{allowed[0]} is"
            )
    words = whole.get_vocab(with_added_tokens=False) if whole else _read_vocab(vocab)
    if whole and vocab.is_file() and _read_vocab(vocab) != words:
        raise UserError(
            f"{file} and {vocab} hold different vocabularies: transformers takes {JSON}; remove "
            "the one that is not the model's"
        )
    if kind in _BERT:
        tokenizer = _bert(words, settings)
        if whole:
            _check_equal(file, whole, tokenizer)
    else:
        assert whole is not None
        tokenizer = whole
    for name, token in _NAMES.items():
        if token and _content(settings.get(name, token)) != token:
            raise UserError(
                f"{folder}: {name}={_content(settings[name])} is not supported, only {token} is"
            )
    _add(tokenizer, folder, settings, whole)
    return _with_layout(tokenizer, whole, folder)


def _settings(folder: Path) -> dict[str, Any]:
    """Returns tokenizer_config.json, completed by the files that older versions wrote beside it.

    `added_tokens_decoder` becomes a dict from ids to tokens.
    """
    settings = _read(folder / SETTINGS)
    named = _read(folder / NAMED)
    added = settings.get("added_tokens_decoder")
    if "additional_special_tokens" in settings and not settings.get("extra_special_tokens"):
        settings["extra_special_tokens"] = settings.pop("additional_special_tokens")
    if added is None:
        settings |= named
        special = {_content(settings.get(name, token)) for name, token in _NAMES.items()}
        special |= {_content(token) for token in settings.get("extra_special_tokens") or ()}
        added = {
            number: {"content": token, "special": token in special}
            for token, number in _read(folder / ADDED).items()
        }
        for token in _read(folder / JSON).get("added_tokens", []):
            added[token["id"]] = token
    settings["added_tokens_decoder"] = {int(number): token for number, token in added.items()}
    return settings


def _bert(words: dict[str, int], settings: Mapping[str, Any]) -> Tokenizer:
    """Builds BERT's tokenizer of wordpieces from its vocabulary and its settings."""
    tokenizer = Tokenizer(models.WordPiece(words, unk_token=UNK))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),  # None: if lowercased
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _check_equal(file: Path, whole: Tokenizer, rebuilt: Tokenizer) -> None:
    """Raises a UserError if tokenizer.json says otherwise than the settings beside it."""
    written, built = (json.loads(each.to_str()) for each in (whole, rebuilt))
    for parts in (written, built):
        del parts["model"]["vocab"]
        normalizer = parts["normalizer"] or {}
        if normalizer.get("strip_accents", 0) is None:
            normalizer["strip_accents"] = normalizer["lowercase"]
    for part in ("normalizer", "pre_tokenizer", "model"):
        if written[part] != built[part]:
            raise UserError(
                f"{file} has the {part} {json.dumps(written[part])}, and with {SETTINGS} "
                f"transformers makes it {json.dumps(built[part])}: set do_lower_case, "
                f"strip_accents and tokenize_chinese_chars in {SETTINGS} as the model was trained, "
                f'or "tokenizer_class": "PreTrainedTokenizerFast" to take {JSON} as it is'
            )


def _add(
    tokenizer: Tokenizer, folder: Path, settings: Mapping[str, Any], whole: Tokenizer | None
) -> None:
    """Adds all tokens that are found before the text is split, and checks their ids."""
    added: dict[int, Any] = settings["added_tokens_decoder"]
    named = {_content(settings.get(name, token)) for name, token in _NAMES.items()}
    for number in sorted(added):
        tokenizer.add_tokens([_token(added[number], _content(added[number]) in named)])
    require_special_tokens(tokenizer, str(folder))  # transformers would give them new ids
    for token in _special(settings):
        if not _is_added(tokenizer, _content(token)):
            tokenizer.add_tokens([_token(token, special=True)])
    wanted = {_content(token): number for number, token in added.items()}
    wanted |= _read(folder / ADDED)
    wanted |= whole.get_vocab() if whole else {}
    found = tokenizer.get_vocab()
    used = Counter(found.values())
    for token, number in wanted.items():
        if found.get(token) != number or used[number] > 1:
            raise UserError(
                f"{folder} gives the added token {token!r} the id {number}, and transformers "
                f"{found.get(token)}, as the ids before it are not consecutive or used twice: save "
                "the tokenizer anew with the version of transformers that wrote it"
            )


def _special(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the special tokens of the settings in the order in which transformers adds them."""
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    named = [settings.get(name, token) for name, token in _NAMES.items()]
    own = [
        token for name, token in settings.items() if name.endswith("_token") and name not in _NAMES
    ]
    for token in [*named, *own, *(extra.values() if isinstance(extra, dict) else extra)]:
        if isinstance(token, (str, dict)):
            yield token


def _is_added(tokenizer: Tokenizer, content: str) -> bool:
    return any(content == token.content for token in tokenizer.get_added_tokens_decoder().values())


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _token(token: Any, special: bool) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=special, normalized=not special)
    known = ("single_word", "lstrip", "rstrip", "normalized", "special")
    given = {name: token[name] for name in known if name in token}
    given.setdefault("normalized", not given.get("special", special))
    return AddedToken(
        token["content"], **{**given, "special": special or given.get("special", False)}
    )


def _with_layout(tokenizer: Tokenizer, whole: Tokenizer | None, folder: Path) -> Tokenizer:
    """Sets BERT's layout, `[CLS] a [SEP] b [SEP]`, which tokenizer.json must not contradict."""
    if whole is None:
        return made_ready(tokenizer, str(folder))
    own = whole.post_processor
    tokenizer.post_processor = own
    probe = (UNK, UNK)
    found = tokenizer.encode(*probe)
    ready = made_ready(tokenizer, str(folder))
    expected = ready.encode(*probe)
    if own is None:
        _log.warning(
            "%s adds no %s and %s: BERT needs them, and they are added", folder / JSON, CLS, SEP
        )
    elif (found.ids, found.type_ids) != (expected.ids, expected.type_ids):
        raise UserError(
            f"{folder / JSON}: its post_processor makes {' '.join(found.tokens)} of a pair, and "
            f"only BERT's layout is supported: {' '.join(expected.tokens)}"
        )
    return ready


def _whole(file: Path) -> Tokenizer:
    try:
        return load_tokenizer_text(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not a tokenizer.json: {error}") from error


def _read_vocab(file: Path) -> dict[str, int]:
    try:
        return models.WordPiece.read_file(str(file))
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{file} cannot be read: {error}") from error


def _read(file: Path) -> dict[str, Any]:
    """Reads a JSON object; empty where the file is missing."""
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file} holds a {type(values).__name__}, not an object of settings")
    return values
