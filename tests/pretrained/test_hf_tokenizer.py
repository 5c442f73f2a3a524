"""Tokenizers of folders of every age have the ids of transformers, or are refused by name."""

import itertools
import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from bert_lightning.errors import UserError
from bert_lightning.pretrained.hf_tokenizer import load_folder_tokenizer

transformers = pytest.importorskip("transformers")

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdeghinorstuvwy"
WORDS = tuple(
    dict.fromkeys(
        (
            *(
                "the",
                "The",
                "crane",
                "Crane",
                "is",
                "flying",
                "new",
                "##s",
                "##ing",
                "é",
                "cafe",
                "café",
            ),
            *("我", "##我", "们", "😃", "co", "##vid", ".", ",", "!", "[", "]", "#", "ü", "ı"),
            *LETTERS,
            *(f"##{letter}" for letter in LETTERS),
        )
    )
)
TEXTS = (
    "The Cranes is flying .",
    "café CAFÉ cafe\u0301 ü Ü",
    "the [MASK] crane, the [mask]! [SEP] [PAD]",
    "我们 the我 😃the 😃 covid covids Covid COVID-19 xcovid",
    "[unused1] < ent > <ent> <ENT> new<ent>york new york New York",
    "##s co\u00advid \u200dthe \x00crane\ufffd \tthe\nnew",
    " the  <ent>  crane ",
    "İI ß ﬁ",
)


def write(folder: Path, **files: Any) -> Path:
    """Writes the files of a folder: `vocab_txt="…"`, `config_json={…}`."""
    folder.mkdir(exist_ok=True)
    files.setdefault("config_json", {"model_type": "bert"})
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_bytes(text.encode())
    return folder


def ours(folder: Path) -> Tokenizer:
    config = folder / "config.json"
    return load_folder_tokenizer(folder, json.loads(config.read_text()))


def check_equal(folder: Path, reader: str = "AutoTokenizer") -> Tokenizer:
    """Holds our ids and token types of all texts, alone and as pairs, to those of transformers."""
    mine, theirs = ours(folder), getattr(transformers, reader).from_pretrained(folder)
    for texts in (*((text,) for text in TEXTS), *itertools.pairwise(TEXTS)):
        own, other = mine.encode(*texts), theirs(*texts)
        types = other.get("token_type_ids", own.type_ids)  # DistilBERT has none
        assert (own.ids, own.type_ids) == (other["input_ids"], types), (
            f"{texts}: {own.tokens}, and {theirs.convert_ids_to_tokens(other['input_ids'])}"
        )
    return mine


def lines(words: tuple[str, ...] = (*SPECIAL, *WORDS)) -> str:
    return "\n".join(words) + "\n"


def whole(
    lowercase: bool = True, added: tuple[AddedToken, ...] = (), words: tuple[str, ...] = WORDS
) -> dict[str, Any]:
    """A tokenizer.json as transformers 3 and 4 wrote it."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens(list(added))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    return content


NAMED = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
SIZE = len(SPECIAL) + len(WORDS)
ENT = AddedToken("<ent>", lstrip=True, rstrip=True)
NEW_YORK = AddedToken("new york", single_word=True)
EMOJI = AddedToken("🙂", normalized=False)
OLD_ADDED = {"covid": SIZE, "<ent>": SIZE + 1}
DECODER = {
    **{str(number): {"content": token, "special": True} for number, token in enumerate(SPECIAL)},
    str(SIZE): {"content": "<ent>", "lstrip": True, "special": True, "normalized": False},
    str(SIZE + 1): {"content": "new york", "single_word": True, "normalized": True},
}
for _token in DECODER.values():
    for _name in ("lstrip", "rstrip", "single_word", "normalized"):
        _token.setdefault(_name, False)

LAYOUTS: dict[str, dict[str, Any]] = {
    # Google's own, and pytorch-pretrained-bert's
    "vocab.txt alone": {},
    "lines of Windows": {"vocab_txt": lines().replace("\n", "\r\n")},
    "no line end at the end": {"vocab_txt": lines().rstrip("\n")},
    "blank lines": {"vocab_txt": lines((*SPECIAL, "", *WORDS, "", ""))},
    "a word twice": {"vocab_txt": lines((*SPECIAL, "the", *WORDS))},
    "blanks behind words": {"vocab_txt": lines().replace("\ncrane\n", "\ncrane \t\n")},
    "other ids": {"vocab_txt": lines(("[unused1]", *WORDS[:5], *SPECIAL[::-1], *WORDS[5:]))},
    # transformers 2
    "do_lower_case and max_len": {
        "tokenizer_config_json": {"do_lower_case": False, "max_len": 512, "init_inputs": []},
        "special_tokens_map_json": NAMED,
    },
    "added_tokens.json": {"added_tokens_json": OLD_ADDED, "special_tokens_map_json": NAMED},
    "added_tokens.json alone": {"added_tokens_json": OLD_ADDED},
    "a special added token": {
        "added_tokens_json": OLD_ADDED,
        "special_tokens_map_json": {**NAMED, "additional_special_tokens": ["<ent>"]},
    },
    # transformers 3 and 4
    "every setting": {
        "tokenizer_config_json": {
            **NAMED,
            "do_lower_case": True,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "do_basic_tokenize": True,
            "never_split": None,
            "model_max_length": 512,
            "name_or_path": "somewhere/else",
            "special_tokens_map_file": "/somewhere/special_tokens_map.json",
            "tokenizer_class": "BertTokenizer",
        }
    },
    "special tokens as objects": {
        "special_tokens_map_json": {
            **NAMED,
            "mask_token": {
                "content": "[MASK]",
                "lstrip": True,
                "rstrip": False,
                "single_word": False,
                "normalized": True,
            },
        }
    },
    "tokenizer.json alone": {"vocab_txt": None, "tokenizer_json": whole()},
    "tokenizer.json and vocab.txt": {"tokenizer_json": whole()},
    "cased": {
        "tokenizer_json": whole(lowercase=False),
        "tokenizer_config_json": {"do_lower_case": False},
    },
    "tokens added in tokenizer.json": {
        "vocab_txt": None,
        "tokenizer_json": whole(added=(ENT, NEW_YORK, EMOJI)),
    },
    "the same, with added_tokens.json": {
        "tokenizer_json": whole(added=(AddedToken("covid"), ENT)),
        "added_tokens_json": OLD_ADDED,
        "special_tokens_map_json": {**NAMED, "additional_special_tokens": ["<ent>"]},
        "tokenizer_config_json": {"tokenizer_class": "BertTokenizer", **NAMED},
    },
    "an added token that is a word": {
        "vocab_txt": None,
        "tokenizer_json": whole(added=(AddedToken("crane"),)),
    },
    # from transformers 4.34 on
    "added_tokens_decoder": {
        "tokenizer_config_json": {**NAMED, "added_tokens_decoder": DECODER},
        "added_tokens_json": {"<ent>": SIZE, "new york": SIZE + 1},
    },
    "additional_special_tokens": {
        "tokenizer_config_json": {
            **NAMED,
            "added_tokens_decoder": DECODER,
            "additional_special_tokens": ["<ent>"],
        }
    },
    "a token with a name of its own": {
        "tokenizer_config_json": {**NAMED, "city_token": "new york", "eos_token": "[SEP]"}
    },
    "as PreTrainedTokenizerFast": {
        "vocab_txt": None,
        "tokenizer_json": whole(lowercase=False, added=(ENT, NEW_YORK)),
        "tokenizer_config_json": {"tokenizer_class": "PreTrainedTokenizerFast", **NAMED},
    },
    "the class in config.json": {
        "vocab_txt": None,
        "tokenizer_json": whole(lowercase=False),
        "config_json": {"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"},
    },
    "extra_special_tokens": {
        "tokenizer_config_json": {**NAMED, "extra_special_tokens": ["<ent>", "covid"]}
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_are_those_of_transformers(layout: str, tmp_path: Path) -> None:
    files = {"vocab_txt": lines(), **LAYOUTS[layout]}
    files = {name: content for name, content in files.items() if content is not None}
    check_equal(write(tmp_path / "model", **files))


@pytest.mark.parametrize("lowercase", [None, True, False])
@pytest.mark.parametrize("strip", ["absent", None, True, False])
@pytest.mark.parametrize("chinese", [True, False])
@pytest.mark.parametrize("kind", ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer"])
def test_every_way_to_normalize(
    lowercase: bool | None, strip: Any, chinese: bool, kind: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"tokenize_chinese_chars": chinese, "tokenizer_class": kind}
    if lowercase is not None:
        settings["do_lower_case"] = lowercase
    if strip != "absent":
        settings["strip_accents"] = strip
    folder = write(tmp_path / "model", vocab_txt=lines(), tokenizer_config_json=settings)
    tokenizer = check_equal(folder)
    assert ("The" in tokenizer.encode("The").tokens) == (lowercase is False)


@pytest.mark.parametrize("seed", range(20))
def test_random_layouts(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    added = rng.sample(["covid", "<ent>", "new york", "🙂", "cranes", "É"], rng.randint(0, 4))
    properties = ("lstrip", "rstrip", "single_word", "normalized", "special")
    tokens = [
        {"content": token, **{name: rng.random() < 0.4 for name in properties}} for token in added
    ]
    order = [*SPECIAL, *rng.sample(WORDS, len(WORDS))]
    files: dict[str, Any] = {"vocab_txt": lines(tuple(order))}
    lowercase = rng.random() < 0.5
    config: dict[str, Any] = {**NAMED, "do_lower_case": lowercase}
    age = rng.choice(["2", "4", "4.34", "5"])
    special = [token["content"] for token in tokens if token["special"]]
    if age == "2":
        files["added_tokens_json"] = {token: SIZE + n for n, token in enumerate(added)}
        files["special_tokens_map_json"] = {**NAMED, "additional_special_tokens": special}
    elif age == "4.34":
        config["added_tokens_decoder"] = DECODER | {
            str(SIZE + number): token for number, token in enumerate(tokens)
        }
        for number in range(len(tokens), 2):
            config["added_tokens_decoder"].pop(str(SIZE + number), None)
        config["additional_special_tokens"] = special
    else:
        objects = tuple(AddedToken(**token) for token in tokens)
        files["tokenizer_json"] = whole(lowercase, objects, tuple(order[5:]))
        if age == "5" or rng.random() < 0.5:
            del files["vocab_txt"]
        if age == "5":
            config["extra_special_tokens"] = special
    check_equal(write(tmp_path / "model", **files, tokenizer_config_json=config))


def test_a_config_without_a_model_type(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", vocab_txt=lines(), config_json={"hidden_size": 8})
    check_equal(folder, "BertTokenizer")


@pytest.mark.parametrize("cased", [True, False])
def test_what_transformers_saves_today(cased: bool, tmp_path: Path) -> None:
    words = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = transformers.BertTokenizer(words, do_lower_case=not cased)
    tokenizer.add_tokens([ENT, "covid"])
    tokenizer.add_special_tokens({"extra_special_tokens": ["<city>"]})
    folder = write(tmp_path / "model")
    tokenizer.save_pretrained(folder)
    check_equal(folder)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "never_split": ({"tokenizer_config_json": {"never_split": ["new york"]}}, "never_split="),
    "do_basic_tokenize": (
        {"tokenizer_config_json": {"do_basic_tokenize": False}},
        "do_basic_tokenize=False is not supported, only True is",
    ),
    "wordpieces_prefix": ({"tokenizer_config_json": {"wordpieces_prefix": "@@"}}, "_prefix=@@"),
    "clean_text": ({"tokenizer_config_json": {"clean_text": False}}, "clean_text=False"),
    "truncation_side": ({"tokenizer_config_json": {"truncation_side": "left"}}, "side=left"),
    "auto_map": (
        {"tokenizer_config_json": {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}},
        "auto_map=",
    ),
    "another class": (
        {"tokenizer_config_json": {"tokenizer_class": "BertJapaneseTokenizer"}},
        "tokenizer_class=BertJapaneseTokenizer is not supported",
    ),
    "another class in config.json": (
        {"config_json": {"model_type": "bert", "tokenizer_class": "XLMRobertaTokenizer"}},
        "tokenizer_class=XLMRobertaTokenizer is not supported",
    ),
    "a class without its file": (
        {"tokenizer_config_json": {"tokenizer_class": "PreTrainedTokenizerFast"}},
        "PreTrainedTokenizerFast with a tokenizer.json",
    ),
    "another name of a special token": (
        {"special_tokens_map_json": {**NAMED, "mask_token": "<ent>"}},
        "mask_token=<ent> is not supported, only [MASK] is",
    ),
    "the same as an object": (
        {"tokenizer_config_json": {"cls_token": {"content": "the"}}},
        "cls_token=the is not supported, only [CLS] is",
    ),
    "another vocab.txt": (
        {"tokenizer_json": whole(), "vocab_txt": lines().replace("\nis\n", "\nwas\n")},
        "hold different vocabularies",
    ),
    "another normalizer": (
        {"tokenizer_json": whole(lowercase=False)},
        "set do_lower_case, strip_accents and tokenize_chinese_chars in tokenizer_config.json",
    ),
    "gaps between ids": (
        {"added_tokens_json": {"covid": SIZE + 1}},
        f"gives the added token 'covid' the id {SIZE + 1}, and transformers {SIZE}",
    ),
    "added to a vocabulary with a word twice": (
        {"vocab_txt": lines((*SPECIAL, "the", *WORDS)), "added_tokens_json": {"covid": SIZE + 1}},
        f"gives the added token 'covid' the id {SIZE + 1}",
    ),
    "an added token in tokenizer.json alone": (
        {
            "tokenizer_json": whole(added=(ENT,)),
            "tokenizer_config_json": {"added_tokens_decoder": {}},
        },
        "gives the added token '<ent>'",
    ),
    "another layout": (
        {
            "tokenizer_json": whole()
            | {
                "post_processor": json.loads(
                    Tokenizer.from_str(json.dumps(whole()))
                    .to_str()
                    .replace('"type_id": 1', '"type_id": 0')
                )["post_processor"]
                | {"pair": [{"Sequence": {"id": "A", "type_id": 0}}]}
            }
        },
        "its post_processor makes",
    ),
    "a missing special token": (
        {"vocab_txt": lines(("[PAD]", "[UNK]", "the")), "special_tokens_map_json": NAMED},
        "has no token [CLS], [SEP], [MASK]",
    ),
    "a setting without a value": (
        {"tokenizer_config_json": {"do_lower_case": None}},
        "hold something unexpected (TypeError",
    ),
    "added tokens without ids": (
        {"added_tokens_json": {"covid": "last"}},
        "hold something unexpected (ValueError",
    ),
    "settings that are no object": ({"tokenizer_config_json": []}, "holds a list"),
    "settings that are no JSON": ({"tokenizer_config_json": "{"}, "cannot be read"),
    "a vocabulary that is not UTF-8": ({"added_tokens_json": "\ud800"}, "cannot be read"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_heeded_is_refused_by_name(reason: str, tmp_path: Path) -> None:
    files, says = REFUSED[reason]
    if reason == "a vocabulary that is not UTF-8":
        folder = write(tmp_path / "model")
        (folder / "vocab.txt").write_bytes(b"[PAD]\n\xff\n")
    else:
        folder = write(tmp_path / "model", **{"vocab_txt": lines(), **files})
    with pytest.raises(UserError) as raised:
        ours(folder)
    assert says in str(raised.value)
    assert str(folder) in str(raised.value)


def test_a_layout_that_is_missing_is_added_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path / "model", tokenizer_json={**whole(), "post_processor": None})
    with caplog.at_level(logging.WARNING):
        assert ours(folder).encode("the", "crane").tokens[::2] == ["[CLS]", "[SEP]", "[SEP]"]
    assert "adds no [CLS] and [SEP]" in caplog.text
