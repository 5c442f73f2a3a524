"""Code of your own: the mark that it carries, and how an option finds it.

An option that ends in `own`, `data.sentences` or `data.words` names an object as `module:name`. It
can name only what its author has marked for that use, so a config from somebody else runs no code
unseen. The module is installed, lies in the working directory, beside `train.py` in a checkout, or
in a folder that PYTHONPATH names:

    from bert_lightning.extensions import extension

    @extension("splitter")
    def at_semicolons(paragraph: str) -> list[str]:
        return paragraph.split(";")
"""

import hashlib
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from bert_lightning.errors import UserError

Marked = TypeVar("Marked", bound=Callable[..., Any])

KINDS = {
    "splitter": "a function from a paragraph to the list of its sentences",
    "segmenter": "a function from a sentence to the list of its words, which join to it",
    "objective": "a torch module with the methods labels and sums",
    "optimizer": "a function from parameter groups and the optim config to a torch optimizer",
    "callback": "a class of Lightning callbacks, made without arguments",
    "logger": "a function from the run's config to a Lightning logger",
}
"""What can be extended, and by what."""

_CHECKOUT = Path(__file__).absolute().parents[1]
_marked: list[tuple[str, object]] = []


def extension(kind: str) -> Callable[[Marked], Marked]:
    """Marks a function or class of your own as one that an option may name; see `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"@extension({kind!r}) must be one of {', '.join(KINDS)}")

    def mark(found: Marked) -> Marked:
        _marked.append((kind, found))
        return found

    return mark


def find(kind: str, name: str, option: str) -> Any:
    """Imports the `module:name` that an option has, and returns that object of one of `KINDS`.

    Raises:
        UserError: the module cannot be imported, or the object is absent or not marked.
    """
    module, _, attribute = name.partition(":")
    places = [Path.cwd(), *([_CHECKOUT] if (_CHECKOUT / "train.py").is_file() else [])]
    # Of these a script has its own folder alone, and an installed program none.
    sys.path += [str(place) for place in places if str(place) not in sys.path]
    try:
        found = getattr(import_module(module), attribute, None)
    except (ImportError, ValueError, TypeError) as error:
        raise UserError(
            f"{option}={name}: the module {module} cannot be imported ({error}); it must be "
            f"installed, or lie in {' or '.join(map(str, places))} or in a folder of PYTHONPATH, "
            "and the option is written module:name"
        ) from error
    if (kind, found) not in _marked:
        what = "does not exist" if found is None else f"is not marked as {_a(kind)}"
        raise UserError(
            f"{option}={name}: {attribute or 'the name after the colon'} {what}; {_a(kind)} is "
            f'{KINDS[kind]}, with @bert_lightning.extensions.extension("{kind}") above it'
        )
    return found


def code_version(name: str) -> str:
    """Returns the hash of the module of a `module:name` that was found; "" for any other name."""
    module, _, attribute = name.partition(":")
    file = sys.modules[module].__file__ if attribute else None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
