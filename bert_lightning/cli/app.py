"""From the command line to a typed config: Hydra composes `conf/`, the schema types every value."""

import logging
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bert_lightning.cli.allowlist import refuse_foreign_code
from bert_lightning.cli.command_line import readable, readable_overrides
from bert_lightning.cli.completion import answer
from bert_lightning.cli.explain import explain
from bert_lightning.cli.implied_options import completed, follow_run_dir, follow_source
from bert_lightning.cli.many_runs.sweep import sweep
from bert_lightning.cli.many_runs.trials import Trials
from bert_lightning.cli.schema import SCHEMAS, in_use, use
from bert_lightning.cli.search import settings as search_settings
from bert_lightning.cli.typed import to_typed as to_typed
from bert_lightning.config import LauncherName
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.runs.launched import is_first_process, reader_is_gone, this_program
from bert_lightning.work import log_printed

_log = logging.getLogger(__name__)
_TRACEBACK_WANTED = "HYDRA_FULL_ERROR"


def run(config_dir: Path, task: Callable[[Any], None], command: str = "train") -> None:
    """Composes the config of the command line and runs the task on it, or on each trial of a sweep.

    `command` names the options that there are, and the config of `conf` that all begin with.

    A mistake of the user ends the process with one message on standard error and exit code 2;
    `debug=traceback` or HYDRA_FULL_ERROR=1 in the environment shows the traceback as well.
    """
    given = os.environ.get(_TRACEBACK_WANTED)
    traceback_wanted = given == "1" or "debug=traceback" in sys.argv
    register_schema()
    use(command)
    words = [word for word in sys.argv[1:2] if word == command]  # not for Hydra
    arguments = sys.argv[1 + len(words) :]
    if (told := answer(arguments)) is not None:
        print(told)
        return
    notes: list[str] = []
    exit_codes: list[int] = []
    crashes: list[Exception] = []

    def job(config: DictConfig) -> None:
        started = HydraConfig.get()
        sys.argv[1:] = [*words, *arguments]  # Hydra has read its part; other processes need all
        with _environment(given):  # processes that the task starts inherit it
            try:
                for note in notes:
                    _log.info("%s", note)
                typed = to_typed(config, started.runtime.output_dir)
                if typed.launcher.name is LauncherName.ray:
                    from bert_lightning.launching.on_ray import train_on_ray  # slow to import

                    train_on_ray(typed, task)
                else:
                    task(typed)
            except RunEnded as ended:
                _tell(str(ended) if ended.exit_code != 1 else f"error: {ended}")
                exit_codes.append(ended.exit_code)
            except KeyboardInterrupt:
                _tell("interrupted")
                exit_codes.append(128 + signal.SIGINT)
            except Exception as error:
                traced = traceback_wanted or config.debug == "traceback"
                if isinstance(error, UserError) and not traced:
                    _tell(f"error: {error}")
                    exit_codes.append(2)
                    return
                crashes.append(error)
                if not reader_is_gone(error):  # Hydra would report it
                    raise

    try:
        sys.argv[1:] = arguments = completed(readable(arguments))
        with _environment("1"):  # otherwise Hydra prints a message of its own and exits with 1
            asked = get_args_parser().parse_args(arguments)
            if asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion:
                folder = str(config_dir)
                hydra.main(version_base="1.3", config_path=folder, config_name=command)(job)()
                return
            asked.config_name = asked.config_name or command
            with _composer(config_dir, asked) as composer:
                mode = RunMode.MULTIRUN if asked.multirun else RunMode.RUN
                config = _checked(composer, asked, mode)
                if config.hydra.mode is RunMode.MULTIRUN:
                    flags = [flag for flag in arguments if flag.startswith("--config-")]
                    trials = Trials([*this_program(), *words, *flags])
                    with _environment(given):
                        code, failed = sweep(composer, asked, config, trials)
                    exit_codes.append(code)
                    for line in failed:
                        _tell(line)
                else:  # Hydra would compose it twice more; it gets the very config that was checked
                    follow_run_dir(config, asked.overrides)
                    notes += follow_source(config, asked.overrides)
                    composer.config_loader.load_configuration = lambda **_: config  # type: ignore[method-assign]
                    composer.run(asked.config_name, job, asked.overrides)
        if crashes:
            raise crashes[0]
    except Exception as error:
        message = None if error in crashes else explain(error, arguments)
        if message is None or traceback_wanted:
            raise
        _tell(f"error: {message}")
        raise SystemExit(2) from None
    if any(exit_codes):
        raise SystemExit(max(exit_codes, key=abs))


@contextmanager
def _composer(config_dir: Path, asked: Namespace) -> Iterator[Hydra]:
    """A Hydra that finds the configs that the flags name, else those of the project."""
    folder = Path(asked.config_path or config_dir).absolute()
    with hydra.initialize_config_dir(str(folder), job_name=in_use().command, version_base="1.3"):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        if asked.config_dir:
            places = composer.config_loader.get_search_path()
            places.prepend("command-line", f"file://{asked.config_dir}")
            composer.config_loader.repository.initialize_sources(places)  # type: ignore[attr-defined]
        yield composer


def _checked(composer: Hydra, asked: Namespace, mode: RunMode) -> DictConfig:
    """Composes a config and checks it, before Hydra builds what it names."""
    config = composer.compose_config(
        asked.config_name, asked.overrides, mode, with_log_configuration=False
    )
    refuse_foreign_code(config)
    config.hydra.mode = config.hydra.mode or mode
    return config


@contextmanager
def _environment(traceback_wanted: str | None) -> Iterator[None]:
    before = os.environ.pop(_TRACEBACK_WANTED, None)
    if traceback_wanted is not None:
        os.environ[_TRACEBACK_WANTED] = traceback_wanted
    try:
        yield
    finally:
        os.environ.pop(_TRACEBACK_WANTED, None)
        if before is not None:
            os.environ[_TRACEBACK_WANTED] = before


def register_schema() -> None:
    """Lets each command's file in `conf` begin with the schema that types every key."""
    store = ConfigStore.instance()
    for schema in SCHEMAS.values():
        name = f"{schema.command}_schema"
        if f"{name}.yaml" not in store.repo:  # storing it takes as long as a fifth of a config
            store.store(name, schema.defaults())
    store.store(search_settings.NAME, search_settings.SearchConfig, search_settings.GROUP)
    # Else configs could bring secrets into logs, checkpoints and TensorBoard.
    OmegaConf.clear_resolver("oc.env")


def compose(config_dir: Path, overrides: Sequence[str], command: str = "train") -> Any:
    """Returns the typed config of these overrides for a command, without starting a run."""
    return to_typed(_composed(config_dir, overrides, command))


def _composed(config_dir: Path, overrides: Sequence[str], command: str) -> DictConfig:
    register_schema()
    use(command)
    with hydra.initialize_config_dir(str(config_dir.absolute()), version_base="1.3"):
        return hydra.compose(command, list(overrides))


def compose_for_script(config_dir: Path, overrides: Sequence[str], command: str = "train") -> Any:
    """As :func:`compose`, of a command that starts no run but takes the options of `command`.

    A mistake becomes a `UserError`.
    """
    try:
        config = _composed(config_dir, ["run_dir=.", *readable_overrides(overrides)], command)
        follow_source(config, overrides)
        return to_typed(config)
    except Exception as error:
        if (message := explain(error, overrides)) is None:
            raise
        raise UserError(message) from error


def _tell(message: str) -> None:
    if is_first_process():
        sys.stderr.write(f"{message}\n")
        log_printed(message)
