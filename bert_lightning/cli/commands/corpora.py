"""Lists prepared corpora with size and age, and removes those that nothing uses any more."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bert_lightning.cli.parsers import parser_of
from bert_lightning.config import CorpusConfig
from bert_lightning.errors import UserError, exit_on_user_error

if TYPE_CHECKING:
    from bert_lightning.corpus.catalog import CatalogEntry

_UNUSABLE = "unusable"
_UNITS = ((24 * 3600, "day"), (3600, "hour"), (60, "minute"))
"""Seconds of each, the longest first."""


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("corpora")
    parser.add_argument("--cache-dir", metavar="FOLDER", help="where they lie, as data.cache_dir")
    parser.add_argument(
        "--remove",
        metavar="DAYS",
        help="remove those that nothing has opened for so many days, those that this version "
        "cannot use, and what interrupted preparations left; `unusable` keeps all others; a later "
        "run prepares a removed corpus again",
    )
    args = parser.parse_args(argv)
    days = None if args.remove is None else _days(args.remove)
    from bert_lightning.corpus.catalog import (
        cache_folder,
        list_corpora,
        remove,
        remove_interrupted,
        total_size,
    )

    cache = cache_folder(CorpusConfig(cache_dir=args.cache_dir))
    found = list_corpora(cache)
    if days is None:
        _show(found)
        print(f"{total_size(found)} in {cache}")
        return
    removed = []
    for entry in found:
        if entry.unused_for(days) or not entry.usable:
            try:
                gone = remove(entry)
            except OSError as error:
                raise UserError(f"cannot remove {entry.folder}: {error.strerror}") from error
            print(f"{'removed' if gone else 'in use:'} {entry.folder.name}")
            removed += [entry] if gone else []
    remove_interrupted(cache)
    print(f"removed {total_size(removed)}, kept {len(found) - len(removed)} prepared corpora")


def _days(text: str) -> float:
    """Returns the days after which a corpus counts as unused; never for `unusable`."""
    try:
        days = math.inf if text == _UNUSABLE else float(text)
    except ValueError:
        days = math.nan
    if not days >= 0:
        raise UserError(f"--remove {text}: expects 0 days or more, or {_UNUSABLE}")
    return days


def _show(entries: Sequence["CatalogEntry"]) -> None:
    from rich.console import Console

    from bert_lightning.corpus.catalog import total_size
    from bert_lightning.terminal import figures

    now = time.time()
    rows = [
        (
            entry.folder.name,
            total_size([entry]),
            f"{entry.tokens:,}" if entry.usable else _UNUSABLE,
            _age(now - entry.built),
            _age(now - entry.last_used),
        )
        for entry in entries
    ]
    Console(width=120).print(figures(("corpus", "size", "tokens", "prepared", "last used"), rows))


def _age(seconds: float) -> str:
    """Returns an age in its largest whole unit: `3 days ago`."""
    for length, unit in _UNITS:
        if count := int(seconds // length):
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
