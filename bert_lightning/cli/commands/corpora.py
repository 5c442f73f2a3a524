"""Lists prepared corpora with size and age, and removes those that nothing uses any more."""

import math
import time
from argparse import Namespace
from collections.abc import Sequence

from rich.console import Console

from bert_lightning.config import CorpusConfig
from bert_lightning.corpus import catalog
from bert_lightning.errors import UserError
from bert_lightning.terminal import figures

_UNUSABLE = "unusable"
_UNITS = ((24 * 3600, "day"), (3600, "hour"), (60, "minute"))
"""Seconds of each, the longest first."""


def main(args: Namespace) -> None:
    days = None if args.remove is None else _days(args.remove)
    cache = catalog.cache_folder(CorpusConfig(cache_dir=args.cache_dir))
    found = catalog.list_corpora(cache)
    if days is None:
        _show(found)
        print(f"{catalog.total_size(found)} in {cache}")
        return
    removed = []
    for entry in found:
        if entry.unused_for(days) or not entry.usable:
            try:
                gone = catalog.remove(entry)
            except OSError as error:
                raise UserError(f"cannot remove {entry.folder}: {error.strerror}") from error
            print(f"{'removed' if gone else 'in use:'} {entry.folder.name}")
            removed += [entry] if gone else []
    catalog.remove_interrupted(cache)
    kept = len(found) - len(removed)
    print(f"removed {catalog.total_size(removed)}, kept {kept} prepared corpora")


def _days(text: str) -> float:
    """Returns the days after which a corpus counts as unused; never for `unusable`."""
    try:
        days = math.inf if text == _UNUSABLE else float(text)
    except ValueError:
        days = math.nan
    if not days >= 0:
        raise UserError(f"--remove {text}: expects 0 days or more, or {_UNUSABLE}")
    return days


def _show(entries: Sequence[catalog.CatalogEntry]) -> None:
    now = time.time()
    rows = [
        (
            entry.folder.name,
            catalog.total_size([entry]),
            f"{entry.tokens:,}" if entry.usable else _state(entry),
            _age(now - entry.built),
            _age(now - entry.last_used),
        )
        for entry in entries
    ]
    Console(width=120).print(figures(("corpus", "size", "tokens", "prepared", "last used"), rows))


def _state(entry: catalog.CatalogEntry) -> str:
    return "interrupted" if entry.interrupted else _UNUSABLE


def _age(seconds: float) -> str:
    """Returns an age in its largest whole unit: `3 days ago`."""
    for length, unit in _UNITS:
        if count := int(seconds // length):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
