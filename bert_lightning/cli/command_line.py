"""A command line as its user means it: flags anywhere, and text that no grammar reads.

Hydra reads `data.path=a=b` as a mistake, `data.path=a,b` as two values and `data.name=1e3` as the
number 1000. What an option that takes text is given stands for itself here; so do quotes, blanks,
brackets and letters of any script. Left to Hydra are quoted values, `null`, `${…}`, and in a sweep
functions such as `choice(…)` and commas, except those in the name of a file or folder that exists.
"""

import json
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from os.path import exists  # which takes any text, other than pathlib's
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from bert_lightning.cli.explain import declared
from bert_lightning.cli.schema import in_use
from bert_lightning.config.limits import kinds
from bert_lightning.errors import UserError

_HYDRA = "hydra."
_MODES = ("run", "multirun", "cfg", "info")
_FOLDERS = ("config_path", "config_dir")
_OPEN, _CLOSED, _QUOTES = "([{", ")]}", ("'", '"')
_SEARCH = "hparams_search"
_NO_EXPERIMENT = "experiment=null"
"""The default, which Hydra refuses where it is given."""
_parser = OverridesParser.create()


def readable(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments so that Hydra reads what was meant: flags first, then the options.

    Raises:
        UserError: a flag is not known, or names a folder that does not exist.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --hydra-help lists the flags, and options are option=value")

    parser.error = refuse  # type: ignore[method-assign]
    asked = parser.parse_intermixed_args(list(arguments))
    _refuse_flags(asked)
    if not any(getattr(asked, mode) for mode in _MODES):
        asked.multirun = _names_search(asked.overrides)
    for name in _FOLDERS:
        if given := getattr(asked, name):
            folder = Path(given).expanduser().absolute()
            if not folder.is_dir():
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag}={given}: there is no folder {folder}")
            setattr(asked, name, str(folder))
    flags = []
    for action in parser._actions:
        value = getattr(asked, action.dest, None)
        if action.option_strings and value:
            flag = action.option_strings[-1 if action.dest == "multirun" else 0]
            flags.append(flag if action.nargs == 0 else f"{flag}={value}")
    return [*flags, *_all_readable(asked.overrides, asked.multirun)]


def _refuse_flags(asked: Namespace) -> None:
    modes = [name for name in _MODES if getattr(asked, name)]
    if len(modes) > 1:
        raise UserError(f"{' and '.join(f'--{name}' for name in modes)} exclude each other")
    if (asked.resolve or asked.package) and not asked.cfg:
        flag = "--resolve" if asked.resolve else f"--package={asked.package}"
        raise UserError(f"{flag} would change nothing: it belongs to --cfg=job")
    if asked.experimental_rerun:
        raise UserError(
            f"--experimental-rerun={asked.experimental_rerun} reads a pickle, which can run code; "
            "start the run again with the options in .hydra/overrides.yaml of its folder"
        )


def _names_search(overrides: Sequence[str]) -> bool:
    """Returns whether a command line implies `-m`: a search of it, and no trial of one."""
    options = given(overrides)
    return options.get(_SEARCH) not in (None, "", "null") and "hydra.mode" not in options


def readable_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the options of one run so that Hydra reads what was meant."""
    return _all_readable(overrides, sweeps=False)


def _all_readable(overrides: Sequence[str], sweeps: bool) -> list[str]:
    return [_readable(override, sweeps) for override in overrides if override != _NO_EXPERIMENT]


def given(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the values of readable arguments by the names of their options, without quotes."""
    pairs = (argument.lstrip("+").partition("=") for argument in arguments)
    return {name: _unquoted(value) for name, equals, value in pairs if equals}


def written(value: Any) -> str:
    """Returns a value in the grammar of Hydra's overrides, text as it stands."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{written(item)}' for name, item in value.items())}}}"
    if isinstance(value, str):
        return _quoted(re.sub(r"(\\*)\$\{", r"\1\1\\${", value))
    return repr(value)


def _readable(override: str, sweeps: bool) -> str:
    key, equals, value = override.partition("=")
    name = key.lstrip("+")
    if not equals or not re.match(r"\w", name):
        return override
    section = HydraConf if name.startswith(_HYDRA) else in_use().config
    kind = kinds(declared(name.removeprefix(_HYDRA), section))[0]
    if sweeps and kind is str and "," in value and exists(value):  # noqa: PTH110
        return f"{key}={_quoted(value)}"  # such as the folder of a trial
    parts = list(_at_commas(value)) if sweeps or kind is not str else [value]
    if kind is bool and any(
        re.fullmatch(r"[+-]?\d+", part) and part not in ("0", "1") for part in parts
    ):
        raise UserError(f"{override}: expects true or false")  # OmegaConf would take it for true
    return f"{key}={','.join(_part(part, kind, sweeps) for part in parts)}"


def _part(value: str, kind: Any, sweeps: bool) -> str:
    function = re.fullmatch(rf"({'|'.join(_parser.functions.functions)})\((.*)\)", value, re.DOTALL)
    if sweeps and function is not None:
        arguments = ",".join(_part(part, kind, sweeps) for part in _at_commas(function[2]))
        return f"{function[1]}({arguments})"
    try:
        read = _parser.parse_override(f"option={value}").value()
    except HydraException:
        items = list(_at_commas(value[1:-1])) if re.fullmatch(r"\[.+\]", value) else []
        if all(items) and items:  # of texts that Hydra cannot read, such as the folders of trials
            return f"[{','.join(_part(item, str, sweeps=False) for item in items)}]"
        return _quoted(value)
    stands = kind is not str or read in (None, value) or value.startswith(_QUOTES)
    return value if stands else _quoted(value)


def _at_commas(value: str) -> Iterator[str]:
    """Splits a value at its commas, except within quotes and brackets."""
    start = depth = 0
    quote = ""
    for place, character in enumerate(value):
        if quote:
            quote = "" if character == quote and value[place - 1] != "\\" else quote
        elif character in _QUOTES and (place == start or value[place - 1] in "([{,:"):
            quote = character
        elif character == "," and depth <= 0:
            yield value[start:place]
            start = place + 1
        else:
            depth += (character in _OPEN) - (character in _CLOSED)
    yield value[start:]


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _unquoted(value: str) -> str:
    if not value.startswith(_QUOTES):
        return value
    try:
        return str(_parser.parse_override(f"option={value}").value())
    except HydraException:
        return value
