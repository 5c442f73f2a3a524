"""Hydra's way to a search: it builds sweepers from modules in `hydra_plugins` alone."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Search(Sweeper):
    """A hyperparameter search over Optuna; its options are those of `SearchConfig`."""

    def __init__(self, **_: Any) -> None:
        self.task: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> tuple[int, list[str]]:
        """Searches; returns the exit code, and what to say of the trials that failed."""
        from bert_lightning.cli.search.search import search

        assert self.config is not None
        assert self.hydra_context is not None
        return search(self.config, self.hydra_context.config_loader, arguments, self.task)
