"""The figures of preparation in `docs/preparation.md`, from `benchmarks/preparation.json`."""

from collections.abc import Mapping
from typing import Any

_TOKENIZERS = {"word": "words of the text itself", "given": "a given WordPiece tokenizer"}


def preparation_table(result: Mapping[str, Any]) -> str:
    """Returns Markdown: how fast a corpus is prepared by kind of tokenizer, and of what text."""
    text, wikitext = result["text"], result["wikitext"]
    rows = [
        "| tokenizer | MB/s a core | seconds | with 2 workers | CPU seconds | 4 workers, simulated "
        "| memory, MiB | opened in, s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, name in _TOKENIZERS.items():
        found = result[kind]
        one, two = found["one_worker"], found["two_workers"]
        once, often = found["simulated"]["speedup"].values()
        rows.append(
            f"| {name} | {found['megabytes_per_second']:.1f} | {one['seconds']:.1f} "
            f"| {two['seconds']:.1f} | {one['cpu_seconds']:.1f}, {two['cpu_seconds']:.1f} "
            f"| {once:.1f}× to {often:.1f}× | {one['peak_mib']:,.0f} "
            f"| {found['open_seconds']:.2f} |"
        )
    library = result["given"]["library"]["encode_batch_megabytes_per_second"]
    about = (
        f"{text['megabytes']:.0f} MB of varied prose in {text['files']} files, "
        f"{text['distinct_words']:,} distinct words of {text['words']:,}. The tokenizer's own "
        f"batch call manages {library:.1f} MB/s on one core. WikiText-2 is prepared in "
        f"{wikitext['prepare_seconds']:.1f} s and opened again in {wikitext['open_seconds']:.2f} s."
    )
    return "\n".join([*rows, "", about])
