"""From the command line to a typed config: Hydra composes `conf/`, the schema types every value."""

import atexit
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_lightning.cli.allowlist import refuse_foreign_code
from bert_lightning.cli.completion import answer
from bert_lightning.cli.explain import explain, unknown_option
from bert_lightning.cli.resume_options import completed, written
from bert_lightning.config import LoggerConfig, TrainConfig
from bert_lightning.errors import RunEnded, UserError
from bert_lightning.runs.launched import SIGNALS, is_first_process, reader_is_gone, this_program

_TRACEBACK_WANTED = "HYDRA_FULL_ERROR"


def run(config_dir: Path, task: Callable[[TrainConfig], None]) -> None:
    """Composes the config of the command line and runs the task on it, or on each job of a sweep.

    A mistake of the user ends the process with one message on standard error and exit code 2;
    `debug=traceback` or HYDRA_FULL_ERROR=1 in the environment shows the traceback as well.
    """
    atexit.register(gc.freeze)  # collecting what the system frees anyway takes seconds at the end
    given = os.environ.get(_TRACEBACK_WANTED)
    traceback_wanted = given == "1" or "debug=traceback" in sys.argv
    register_schema()
    words = [word for word in sys.argv[1:2] if word == "train"]  # not for Hydra
    arguments = sys.argv[1 + len(words) :]
    if (told := answer(arguments)) is not None:
        print(told)
        return

    exit_codes: list[int] = []
    crashes: list[Exception] = []

    def job(config: DictConfig) -> None:
        started = HydraConfig.get()
        sys.argv[1:] = [*words, *arguments]  # Hydra has read its part; other processes need all
        with _environment(given):  # processes that the task starts inherit it
            if started.mode is RunMode.MULTIRUN:
                exit_codes.append(_run_alone(started, words, arguments))
                return
            try:
                task(to_typed(config, started.runtime.output_dir))
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

    main = hydra.main(version_base="1.3", config_path=str(config_dir), config_name="train")(job)
    try:
        sys.argv[1:] = arguments = completed(arguments)
        with _environment("1"):  # otherwise Hydra prints a message of its own and exits with 1
            if not _run_plainly(config_dir, job):
                main()
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


def _run_plainly(config_dir: Path, job: Callable[[DictConfig], None]) -> bool:
    """Composes and checks the config, and runs the job if the command line is that of a plain run.

    The check comes before Hydra builds what a config names. Hydra itself composes a plain run twice
    more; here it gets the very config that was checked. Returns whether the job has run: not where
    help or a sweep was requested, for example.
    """
    asked = get_args_parser().parse_args()
    if asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion:
        return False
    overrides = asked.overrides
    if asked.config_dir:
        overrides = [
            *overrides,
            f"hydra.searchpath={written([f'file://{Path(asked.config_dir).absolute()}'])}",
        ]
    folder = Path(asked.config_path or config_dir).absolute()
    name = asked.config_name or "train"
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        config = composer.compose_config(
            name,
            overrides,
            run_mode=RunMode.MULTIRUN if asked.multirun else RunMode.RUN,
            from_shell=True,
            with_log_configuration=False,
        )
        refuse_foreign_code(config)
        is_plain = config.hydra.mode is None and not (
            asked.multirun or asked.config_dir or asked.experimental_rerun
        )
        if is_plain:
            composer.config_loader.load_configuration = lambda **_: config  # type: ignore[method-assign]
            composer.run(name, job, overrides)
    return is_plain


def _run_alone(job: HydraConf, words: Sequence[str], arguments: Sequence[str]) -> int:
    """Runs one job of a sweep as a process of its own; returns its exit code.

    The processes of several devices are started with the command line of their parent: that of a
    sweep would run the whole sweep in each. So every job is a plain run. A job that fails stops no
    other; a job that a signal stops ends the sweep.
    """
    asked = vars(get_args_parser().parse_args(list(arguments)))
    names = ("config_path", "config_name", "config_dir")
    flags = [f"--{name.replace('_', '-')}={asked[name]}" for name in names if asked[name]]
    directory = f"hydra.run.dir={written(job.runtime.output_dir)}"
    process = subprocess.Popen([*this_program(), *words, *flags, *job.overrides.task, directory])
    stops: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        stops.append(number)
        if number != signal.SIGINT:  # the terminal sends that one to the job itself
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stops:
        raise SystemExit(code if code > 0 else 128 + stops[0])
    return code


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
    """Lets `conf/train.yaml` begin with the schema that types every key."""
    schema = TrainConfig(logger=LoggerConfig(tensorboard=False))  # each of `conf/logger` adds one
    ConfigStore.instance().store("schema", schema)
    # Else configs could bring secrets into logs, checkpoints and TensorBoard.
    OmegaConf.clear_resolver("oc.env")


def compose(config_dir: Path, overrides: Sequence[str]) -> TrainConfig:
    """Returns the typed config of these overrides, without starting a run."""
    register_schema()
    with hydra.initialize_config_dir(str(config_dir.absolute()), version_base="1.3"):
        return to_typed(hydra.compose("train", list(overrides)))


def compose_for_script(config_dir: Path, overrides: Sequence[str]) -> TrainConfig:
    """As :func:`compose`, of a command that starts no run; a mistake becomes a `UserError`."""
    try:
        return compose(config_dir, ["run_dir=.", *overrides])
    except Exception as error:
        if (message := explain(error, overrides)) is None:
            raise
        raise UserError(message) from error


def to_typed(config: DictConfig, folder: str | None = None) -> TrainConfig:
    """Turns a composed config into dataclasses, which check themselves.

    `folder` is the one that Hydra made for the run; the config may name another.

    Raises:
        UserError: a value is not allowed, cannot be resolved, or belongs to no option.
    """
    try:
        typed = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(typed, TrainConfig)
    _refuse_added_keys(typed)
    return typed if typed.run_dir is not None else replace(typed, run_dir=folder)


def _refuse_added_keys(section: Any, path: str = "") -> None:
    """`+key=value` gets past the schema; nothing would read it."""
    known = {field.name for field in fields(section)}
    for name, value in vars(section).items():
        if name not in known:
            raise UserError(unknown_option(f"{path}{name}"))
        if is_dataclass(value):
            _refuse_added_keys(value, f"{path}{name}.")


def _tell(message: str) -> None:
    if is_first_process():
        sys.stderr.write(f"{message}\n")
