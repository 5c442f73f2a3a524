"""Shortens the imports of a run, which are most of its start."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from lightning_utilities.core import imports
from lightning_utilities.core.imports import RequirementCache

from bert_lightning.runs.launched import is_first_process
from bert_lightning.work import working

_NOT_NEEDED = ("matplotlib", "scipy", "transformers")
"""Packages that torchmetrics imports only because they are installed."""


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports within it without garbage collection, and without packages that no run needs.

    Imported modules stay until the process ends, so the garbage collector would search them in
    vain, again and again; afterwards it ignores them.
    """
    gc.disable()
    try:
        with working("starting") if is_first_process() else nullcontext():
            _import_torchmetrics()
            yield
    finally:
        gc.freeze()
        gc.enable()


def _import_torchmetrics() -> None:
    """Imports torchmetrics; its plots and what needs scipy or transformers are missing then."""
    available, installed = RequirementCache.__bool__, imports.package_available

    def available_and_needed(requirement: RequirementCache) -> bool:
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
