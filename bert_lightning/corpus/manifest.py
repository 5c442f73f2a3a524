"""The manifest of a prepared corpus: what it is made of, and how two of them differ, in words.

Its identity decides every byte of the corpus: the format version, the text and how it becomes
sentences, and the tokenizer. The hash of the identity names the corpus in the cache.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bert_lightning.config import TokenizerConfig
from bert_lightning.config.affects import PLACE, TOKENS, named
from bert_lightning.config.plain import to_plain
from bert_lightning.corpus.tokenizer import Tokenizer

CORPUS_FORMAT = 2
"""The version of prepared corpora. Raise it whenever the same text and options give other bytes or
other files than before; the golden-bytes test fails then."""
MANIFEST = "manifest.json"
DESCRIBED = ("format", "source", "tokenizer", "tokenizer_base", "splits")
"""The identity in a manifest, and the counts of its splits."""
_KINDS = {
    "builtin": "Python's own manual",
    "files": "files",
    "hub": "the Hugging Face hub",
    "shards": "a corpus in shards",
    "wikitext": "WikiText's files",
}
"""The kinds of sources, as a message says them."""


def identity_of(
    source: Mapping[str, Any], tokenizer: TokenizerConfig, base: Tokenizer | None
) -> dict[str, Any]:
    """Returns all that decides the content of a prepared corpus, as plain values.

    `source` is the fingerprint of the text; the existing tokenizer, `base`, enters by its content.
    """
    return {
        "format": CORPUS_FORMAT,
        "source": dict(source),
        "tokenizer": tokenizer_options(tokenizer),
        "tokenizer_base": hashlib.sha256(base.to_str().encode()).hexdigest() if base else None,
    }


def tokenizer_options(config: TokenizerConfig) -> dict[str, Any]:
    """Returns the options that decide a tokenizer, by their full names."""
    options = to_plain(asdict(config))
    names = [n for n in named(TokenizerConfig, TOKENS) if n not in named(TokenizerConfig, PLACE)]
    return {f"tokenizer.{name}": options[name] for name in names}


def digest(content: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Completes a prepared corpus; the manifest carries a SHA-256 of itself."""
    text = json.dumps({"sha256": digest(content), **content}, indent=2)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Returns the manifest, or None where it is missing or not as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest if manifest.pop("sha256") == digest(manifest) else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Says in words how two prepared corpora differ, one phrase for each difference.

    Both have what is `DESCRIBED`. An option reads `data.min_sentences=1, and it was 2`.
    """
    found = []
    if old["format"] != new["format"]:
        versions = f"{new['format']}, and it was {old['format']}"
        found.append(f"the format version of prepared corpora is {versions}")
    before, now = old["source"], new["source"]
    if before["kind"] != now["kind"]:
        here, there = _KINDS[now["kind"]], _KINDS[before["kind"]]
        found.append(f"the text comes from {here}, and it came from {there}")
    else:
        if before["content"] != now["content"]:
            found.append(f"the text is another: {now['content']}, and it was {before['content']}")
        found += _options(before["options"], now["options"])
    if before["splitter_version"] != now["splitter_version"]:
        found.append("the code that splits sentences (data.sentences) has changed")
    if before.get("segmenter_version", "") != now["segmenter_version"]:
        found.append("the code that finds words (data.words) has changed")
    if before["min_documents"] != now["min_documents"]:
        needed = f"{now['min_documents']} documents (batch.pairs), and it needed"
        found.append(f"each split needs {needed} {before['min_documents']}")
    found += _options(old["tokenizer"], new["tokenizer"])
    if old["tokenizer_base"] != new["tokenizer_base"]:
        found.append("the existing tokenizer that it builds on is another")
    for split, counts in new["splits"].items():
        counted = old["splits"].get(split, counts)
        if counted != counts:
            found.append(
                f"its {split} split has {counts['documents']:,} documents and "
                f"{counts['tokens']:,} tokens, and it had {counted['documents']:,} and "
                f"{counted['tokens']:,}"
            )
    return found


def _options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={now.get(name)}, and it was {before.get(name)}"
        for name in sorted({*before, *now})
        if now.get(name) != before.get(name)
    ]
