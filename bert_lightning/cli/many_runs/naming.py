"""The folder of a trial, named by the options that its sweep varies: `optim.lr=0.001,seed=1`."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

_LONGEST = 100
"""Characters; with a run's own files, a path stays below the 260 of Windows."""
_UNSAFE = r"[^A-Za-z0-9._=,+-]+"
_taken: dict[tuple[str, str], int] = {}
"""The number of the trial that has a name, by the sweep's folder and that name."""


def trial_name(options: Sequence[str]) -> str:
    """Returns a name that is safe on every system, and another one for other options.

    What had to be replaced or cut is told apart by a hash of the options; so are names with capital
    letters, which some systems do not tell from small ones.
    """
    parsed = OverridesParser.create().parse_overrides([*options])
    text = ",".join(f"{one.get_key_element()}={_value(one)}" for one in parsed)
    safe = re.sub(_UNSAFE, "_", text).strip("._ ")
    if len(safe) <= _LONGEST and safe == text.lower():
        return safe
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{safe[: _LONGEST - len(digest) - 1]}-{digest}"


def _value(option: Override) -> str:
    value = option.value()
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _folder_of_trial(*, _root_: Any) -> str:
    """Resolves `${trial_folder:}` in the config of a trial.

    A sweeper may try the same options twice: the name then ends in the trial's number.
    """
    settings, number = _root_.hydra, _root_.hydra.job.num
    alike = {*settings.job.config.override_dirname.exclude_keys}
    given = [one for one in settings.overrides.task if one.partition("=")[0] not in alike]
    name = trial_name(given) if given else str(number)
    first = _taken.setdefault((str(settings.sweep.dir), name), number)
    return name if first == number else f"{name}-{number}"


OmegaConf.register_new_resolver("trial_folder", _folder_of_trial, replace=True)
