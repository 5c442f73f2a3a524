"""The config of a run that Python starts, composed as the command line composes it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from omegaconf import open_dict

from bert_lightning.cli.app import register_schema, to_typed
from bert_lightning.cli.command_line import readable_overrides, written
from bert_lightning.cli.explain import explain
from bert_lightning.cli.implied_options import completed, follow_source
from bert_lightning.cli.schema import conf_dir, use
from bert_lightning.config import RunConfig
from bert_lightning.config.affects import leaves
from bert_lightning.config.plain import to_plain
from bert_lightning.errors import UserError


def compose_run(given: RunConfig | Sequence[str], command: str = "train") -> tuple[Any, list[str]]:
    """Returns the config of a run, its folder included, and the options that stand for it.

    Args:
        given: the options of the command line, or a config, with the same checks.
        command: `train` or `finetune`.

    Raises:
        UserError: with the message that the command line would end with.
    """
    options = as_options(given) if isinstance(given, RunConfig) else list(given)
    try:
        with _own_hydra():
            register_schema()
            use(command)
            with hydra.initialize_config_dir(str(conf_dir()), job_name=command, version_base="1.3"):
                implied = completed(readable_overrides(options))
                composed = hydra.compose(command, implied, return_hydra_config=True)
            for note in follow_source(composed, implied):
                print(note)
            HydraConfig.instance().set_config(composed)
            folder = composed.hydra.run.dir
            with open_dict(composed):
                del composed["hydra"]
            return to_typed(composed, folder), options
    except Exception as error:
        if (message := explain(error, options)) is None:
            raise
        raise UserError(message) from None


def as_options(config: RunConfig) -> list[str]:
    """Returns the options of a command line that stand for a config."""
    options = [f"{name}={written(value)}" for name, value in leaves(to_plain(asdict(config)))]
    if config.run_dir is None and config.resume is None:
        # Hydra would name the folder after config files, which a config does not come from.
        options.append("hydra.run.dir=runs/${now:%Y-%m-%d_%H-%M-%S-%f}")
    return options


@contextmanager
def _own_hydra() -> Iterator[None]:
    """A context with a Hydra of its own; that of the calling program is untouched."""
    Plugins.instance()  # it registers configs when it is imported, which are to stay
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)
