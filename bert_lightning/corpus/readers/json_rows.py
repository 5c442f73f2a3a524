"""The rows of a JSON file: an object a line, one array of objects, or one object with a list."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from bert_lightning.corpus.readers.columns import cell_of, names_within, require_column
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.lines import open_text, without_nul
from bert_lightning.errors import UserError

LARGEST_ARRAY = 2**29
"""Bytes of JSON that is one array or one object, which is read as a whole; JSON lines have no
limit."""
_MISSING = object()
_WAY_OUT = "a file of JSON holds an object a line or one list of objects"


class _Item(NamedTuple):
    """A value in a file, and the way to it."""

    place: str
    """For people: `line 3`."""
    way: str
    """For jq: `.data[]`; "" where each line is a value."""
    value: Any


def json_cells(
    file: TextFile, name: str, columns: Sequence[str]
) -> Iterator[tuple[str, list[Any]]]:
    """Yields the place and the cells of each object; a missing column is a missing cell, None."""
    names: dict[str, None] = {}
    for item in _objects(file, name, columns):
        if not all(column in names for column in columns):
            names |= dict.fromkeys(names_within(item.value))
        yield item.place, [cell_of(item.value, column) for column in columns]
    for column in columns if names else ():
        inner = _way_to(item.value, column)
        way_out = (
            f"jq -c '{item.way}{inner}' FILE.json > FILE.jsonl writes the objects that have it"
        )
        require_column(column, list(names), name, way_out=way_out if inner else "")


def json_columns(file: TextFile, name: str) -> list[str]:
    """Returns the keys of all objects."""
    return list(dict.fromkeys(key for item in _objects(file, name, ()) for key in item.value))


def _objects(file: TextFile, name: str, columns: Sequence[str]) -> Iterator[_Item]:
    items = _values(file, name)
    first = [*islice(items, 2)]
    if len(first) == 1 and file.part is None:
        first = [*_listed(first[0], name, columns)]
    for item in chain(first, items):
        if not isinstance(item.value, dict):
            such = ", ".join(f'"{column}": "…"' for column in columns or ["text"])
            wanted = f"with the column {' and '.join(repr(column) for column in columns)}"
            raise UserError(
                f"{name}: {item.place} holds {type(item.value).__name__}, not an object "
                f"{wanted if columns else 'with columns'}, such as {{{such}}}"
            )
        yield item


def _listed(only: _Item, name: str, columns: Sequence[str]) -> Iterator[_Item]:
    """Yields the objects of the one list in an object that is all of a file, or this object."""
    value = only.value if isinstance(only.value, dict) else {}
    lists = {
        key: items
        for key, items in value.items()
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
    }
    if not lists or any(cell_of(value, column, _MISSING) is not _MISSING for column in columns):
        yield only
    elif len(lists) > 1:
        raise UserError(
            f"{name} is one object with {len(lists)} lists of objects, {', '.join(lists)}: write "
            f"one of them, an object a line: jq -c '{_step(next(iter(lists)))}' FILE.json > "
            "FILE.jsonl"
        )
    else:
        for key, items in lists.items():
            for number, item in enumerate(items, 1):
                yield _Item(f"object {number} of '{key}'", _step(key), item)


def _values(file: TextFile, name: str) -> Iterator[_Item]:
    """Yields the value of each line; or the items of an array, or an object, over many lines."""
    with open_text(file.path, part=file.part) as stream:
        lines = without_nul(stream, file.path)
        first = next(lines, "").strip()
        if not (first.startswith("[") or _is_begun(first)):
            for number, line in enumerate(chain([first], lines), 1):
                if text := line.strip():
                    place = f"line {number}"
                    yield _Item(place, "", _parsed(text, place, name))
            return
        what = "array" if first.startswith("[") else "object"
        text = "\n".join([first, *without_nul([stream.read(LARGEST_ARRAY)], file.path)])
        if stream.read(1):
            raise UserError(
                f"{name} is one JSON {what} of more than {LARGEST_ARRAY:,} characters; "
                "write an object a line: jq -c '.[]' FILE.json > FILE.jsonl"
            )
    value = _parsed(text, f"the {what}", name)
    if isinstance(value, list):
        yield from (_Item(f"object {n}", ".[]", item) for n, item in enumerate(value, 1))
    else:
        yield _Item(f"the {what}", "", value)


def _is_begun(line: str) -> bool:
    """Whether a line is the beginning of an object that further lines end."""
    try:
        json.loads(line or "null")
    except json.JSONDecodeError as error:
        return line.startswith("{") and error.pos >= len(line)
    except (ValueError, RecursionError):
        pass
    return False


def _parsed(text: str, place: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{name}: {place} is not JSON: {error}; {_WAY_OUT}: "
            "jq -c . FILE.json > FILE.jsonl writes a line each"
        ) from error


def _way_to(row: Mapping[str, Any], column: str) -> str:
    """Returns what `jq` calls the lists within a row whose objects have a column; "" for none."""
    for key, value in row.items():
        inner = value[0] if isinstance(value, list) and value else None
        if isinstance(inner, dict):
            if column in inner:
                return _step(key)
            if further := _way_to(inner, column):
                return _step(key) + further
    return ""


def _step(key: str) -> str:
    return f".{key if key.isidentifier() and key.isascii() else json.dumps(key)}[]"
