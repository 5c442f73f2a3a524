"""The bytes of prepared corpora never change within a format version."""

import json
from pathlib import Path

import pytest

from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Format,
    PairKind,
    PairsConfig,
    TokenizerConfig,
    TokenizerKind,
)
from bert_lightning.corpus.catalog import store_folder
from bert_lightning.corpus.manifest import digest, read_manifest
from bert_lightning.corpus.prepare import prepare

PROSE = """\
Dr. Crane came at 5 p.m. on Sunday. "Who is there?" he asked (twice). Nobody answered!
The café's lamp, e.g. the old one, was out... It stayed dark. No. 7 was closed.

The bridge is wet. A driver waits. See p. 12.

彼は「はい。」と言った。それから帰った。 The end [SEP] came. It did.
The U.S. team won. They left.

First item. Second item.
Third item. Fourth item.
"""
"""Four documents: abbreviations, quotes, accents, scripts without spaces, a special token."""
WIKITEXT = """\
 = Crane =

 The crane flies . It is <unk> @-@ white . The river is near .
 = = Habitat = =

 A lone sentence .
 Wet fields . Old rivers .
 = Driver =

 The driver came . He just left . The crane saw him .
"""
MANUAL = {
    "a": "The for statement\n*****************\n\nThe statement iterates over *items*. It ends "
    "when they do [1].\n\n   for x in y: pass\n\n* Each item is bound\n  to the target. This is "
    "done in order.\n",
    "b": "Names refer to objects. They are introduced by binding. See below.\n",
    "c": "Modules have their own scope. It is global. Functions have another one.\n",
    "d": "Blocks are executed as units. They are pieces of program text.\n",
}
"""The topics of a manual, as `pydoc_data` has them."""
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "crane", "is", "came"),
    *("bridge", "driver", "##s", "##er", "rive", "##r", ".", ",", "?", "fl", "##ies", "un"),
    *("it", "##em", "we", "##t"),
)
PAIRS = PairsConfig(PairKind.segment)
WORDS = TokenizerConfig(min_frequency=1)
"""Training wordpieces is not deterministic, so their corpora take a fixed tokenizer."""

DIGESTS = {
    "prose": "6b29ef4e18a20c053bee43f2e93d19f0df0040d96b4709db33ccdd40098d3ebf",
    "hard_wrapped": "598162cf29c1129245f8a637a374b01a1dd7f56cd54c8f53b85f722cd2289ba4",
    "lines": "f3f03c855852b4f2589902ab10598879858bf3b9b821806c32054f05f235d6c1",
    "table": "6b29ef4e18a20c053bee43f2e93d19f0df0040d96b4709db33ccdd40098d3ebf",
    "cased": "9e32ab3de0691fd3a373d9d756ab921b96c4d66f517620dc40e0451f28ef9986",
    "wordpiece": "47fd8bc9a13df3eda0616b416077252bb86fb55ab24512b1152ecc943aa93425",
    "extended": "3b193482f8ac37c76f032b2d65f8790ea60bbde8992fba1c778ea2eb7283e9b8",
    "wikitext": "96ef5dec80fa09a261605832f4fe148db8385e7bd7efbad356cd8d47c47df368",
    "builtin": "ef9fc35cb540679d407321c3a8d81812f3d6f2f4bb40dc9697cb7a53ac07f331",
}
"""The SHA-256 over those of all array files."""


def corpus(folder: Path, name: str) -> tuple[CorpusConfig, TokenizerConfig]:
    """Writes a text, and returns the options to prepare it with."""
    held_out = {"validation_fraction": 0.25, "test_fraction": 0.0}
    cache = str(folder / "cache")
    file = folder / "text.txt"
    file.write_text(PROSE, encoding="utf-8")
    prose = CorpusConfig(
        CorpusSource.text, path=str(file), format=Format.prose, cache_dir=cache, **held_out
    )
    if name == "wikitext":
        for split in ("train", "valid", "test"):
            (folder / f"wiki.{split}.tokens").write_text(WIKITEXT, encoding="utf-8")
        return CorpusConfig(path=str(folder), cache_dir=cache), WORDS
    if name == "builtin":
        return CorpusConfig(CorpusSource.builtin, cache_dir=cache, **held_out), WORDS
    if name == "table":
        rows = "\n".join(json.dumps({"text": text}) for text in PROSE.split("\n\n"))
        (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
        prose.path = str(folder / "rows.jsonl")
    if name == "hard_wrapped":
        prose.hard_wrapped = True
    if name == "lines":
        prose.sentences = "line"
        prose.min_sentences = 1
    if name == "cased":
        return prose, TokenizerConfig(min_frequency=1, lowercase=False, strip_accents=True)
    if name in ("wordpiece", "extended"):
        content = {
            "version": "1.0",
            "added_tokens": [
                {"id": number, "content": token, "single_word": False, "lstrip": False}
                | {"rstrip": False, "normalized": False, "special": True}
                for number, token in enumerate(VOCABULARY[:5])
            ],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {token: number for number, token in enumerate(VOCABULARY)},
            },
        }
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        extend = 5 if name == "extended" else 0
        return prose, TokenizerConfig(
            TokenizerKind.wordpiece, str(path), extend=extend, min_frequency=1
        )
    return prose, WORDS


@pytest.mark.parametrize("name", DIGESTS)
def test_the_bytes_of_a_format_version_are_the_recorded_ones(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydoc_data.topics.topics", MANUAL)
    data, words = corpus(tmp_path, name)
    prepared = prepare(data, words, PAIRS)
    manifest = read_manifest(store_folder(data, prepared.name, prepared.key))
    assert manifest is not None
    files = {
        file: record["sha256"]
        for file, record in manifest["files"].items()
        if file != "tokenizer.json"  # its layout is that of the library's version
    }
    assert digest(files) == DIGESTS[name], (
        "the same text and options give other bytes than before: raise CORPUS_FORMAT in "
        "bert_lightning/corpus/manifest.py, so that older corpora are built again, and record "
        f"the new digest; the files are {files}"
    )
