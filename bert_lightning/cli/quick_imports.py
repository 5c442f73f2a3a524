"""Shortens the imports of a command, which are most of its start."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from bert_lightning.runs.launched import is_first_process
from bert_lightning.work import working

if TYPE_CHECKING:
    from lightning_utilities.core.imports import RequirementCache

_NOT_NEEDED = ("matplotlib", "scipy", "transformers")
"""Packages that torchmetrics imports only because they are installed."""


@contextmanager
def uncollected() -> Iterator[None]:
    """A context without garbage collection, for imports.

    Imported modules stay until the process ends, so the garbage collector would search them in
    vain, again and again; afterwards it ignores them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def quick_imports() -> Iterator[None]:
    """A context for the imports of a run, without packages that no run needs."""
    with uncollected(), working("starting") if is_first_process() else nullcontext():
        _import_torchmetrics()
        yield


def _import_torchmetrics() -> None:
    """Imports torchmetrics; its plots and what needs scipy or transformers are missing then."""
    from lightning_utilities.core import imports  # slow for commands that need no torchmetrics
    from lightning_utilities.core.imports import RequirementCache

    available, installed = RequirementCache.__bool__, imports.package_available

    def available_and_needed(requirement: "RequirementCache") -> bool:
        if (requirement.requirement or "").startswith(_NOT_NEEDED):
            requirement.available = False
            requirement.message = f"{requirement.requirement} is not imported in a training run"
        return available(requirement)

    RequirementCache.__bool__ = available_and_needed  # type: ignore[method-assign, assignment]
    imports.package_available = lambda name: name not in _NOT_NEEDED and installed(name)  # type: ignore[assignment]
    try:
        import torchmetrics  # noqa: F401
    finally:
        RequirementCache.__bool__ = available  # type: ignore[method-assign]
        imports.package_available = installed
