"""What a command line implies: the options of a resumed run, its folder, the sizes of a source.

Hydra creates the run folder before it composes a config. So the folder is chosen here, from the
arguments alone, and added to them.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bert_lightning.cli.command_line import given, written
from bert_lightning.cli.schema import conf_dir, in_use
from bert_lightning.config import ModelConfig, TrainConfig
from bert_lightning.config.affects import ARCHITECTURE, COMMAND, leaves, named
from bert_lightning.config.plain import to_plain
from bert_lightning.errors import UserError
from bert_lightning.runs.launched import (
    AUTO,
    CONFIG_FILE,
    is_first_process,
    launched_externally,
    require_command,
)

_RUN_DIR = "hydra.run.dir"
_LAUNCH = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
"""What all processes of one launch have in common, and other launches do not."""


def completed(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with those that they imply: the folder, and the options of its run.

    - `resume=RUN_DIR` resumes in that folder, with the options of its run; options that are given
      again override them.
    - `resume=auto` uses a folder whose name follows from the other arguments, so that the same
      command finds it again.
    - If torchrun or SLURM started several processes, only the first writes files.

    Raises:
        UserError: `resume` names no run.
    """
    added: list[str] = []
    options = given(arguments)
    resume = options.get("resume")
    sweep = "-m" in arguments or "--multirun" in arguments
    kind = "sweep" if sweep else "run"
    if not sweep and options.get("run_dir") not in (None, "", "null"):
        added.append(_same_folder(options["run_dir"], options))
        options.setdefault(_RUN_DIR, options["run_dir"])
    if resume == AUTO and f"hydra.{kind}.dir" not in options:
        added.append(f"hydra.{kind}.dir=runs/{kind}_{_name(arguments)}")
    elif resume not in (None, "", "null", AUTO):
        if sweep:
            raise UserError(f"resume={resume}: a sweep resumes with resume=auto")
        added += _of_run(str(resume), options)
    elif launched_externally() and _RUN_DIR not in options:
        launch = [os.environ.get(name, "") for name in _LAUNCH]
        added.append(f"{_RUN_DIR}=runs/run_{_name([*arguments, *launch])}")
    known = {**options, **given(added)}
    if _RUN_DIR in known and (Path(known[_RUN_DIR]) / CONFIG_FILE).is_file():
        # Hydra would overwrite the record of the command that started the run.
        added.append("hydra.output_subdir=null")
    if launched_externally() and not is_first_process():
        rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID"))
        added += ["hydra.output_subdir=null", f"hydra.job.name={in_use().command}_rank_{rank}"]
    return [*arguments, *added]


def follow_run_dir(config: DictConfig, arguments: Sequence[str]) -> None:
    """Has Hydra write into the folder that a config names, be it in a file.

    Raises:
        UserError: the arguments name another.
    """
    if config.run_dir:
        _same_folder(config.run_dir, given(arguments))
        config.hydra.run.dir = config.run_dir


def follow_source(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Gives the model the sizes and the kind of the one that `init_from` names.

    What the user chose stays, and must fit: options of `model`, and those that a `model=` or
    `arch=` decides, or that a file of one's own sets. Returns the line that says what was taken.

    Raises:
        UserError: there is no such model.
    """
    if not (config.init_from or "").strip() or in_use().config is not TrainConfig:
        return []  # what is fine-tuned has the sizes of its model anyway
    from bert_lightning.pretrained.sources import open_source  # with torch, slow to import

    names = set(given(overrides))
    for group in names & {"model", "arch"}:
        for file in (conf_dir() / group).glob("*.yaml"):
            names |= {f"model.{name!s}" for name in OmegaConf.load(file)}
    logging.disable(logging.WARNING)  # the run will read it again, and say what it has to say
    try:
        source, default = open_source(config.init_from).config, ModelConfig()
    finally:
        logging.disable(logging.NOTSET)
    taken = {
        name: getattr(source, name)
        for name in named(ModelConfig, ARCHITECTURE)
        if f"model.{name}" not in names
        and config.model[name] == getattr(default, name) != getattr(source, name)
    }
    config.model.update(taken)
    options = " ".join(f"model.{name}={to_plain(value)}".lower() for name, value in taken.items())
    return [f"as init_from={config.init_from} has them: {options}"] if taken else []


def _same_folder(run_dir: str, options: Mapping[str, str]) -> str:
    """Returns the option that has Hydra write into a run's folder; a UserError for two folders."""
    if Path(options.get(_RUN_DIR, run_dir)).absolute() != Path(run_dir).absolute():
        raise UserError(
            f"run_dir={run_dir} and {_RUN_DIR}={options[_RUN_DIR]} name two folders for one run: "
            "omit one of them"
        )
    return f"{_RUN_DIR}={written(run_dir)}"


def _name(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()[:12]


def _of_run(resume: str, options: Mapping[str, str]) -> list[str]:
    """Returns the options of the run to resume, except those that are given again."""
    if "://" in resume:
        raise UserError(f"resume={resume} is a URL; give the folder of a run on this machine")
    folder = Path(resume).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"resume={resume}: there is no folder {folder.absolute()}; give the folder of a run, "
            "or resume=auto"
        )
    for name in ("run_dir", _RUN_DIR):
        if Path(options.get(name, folder)).absolute() != folder.absolute():
            raise UserError(
                f"resume={resume} resumes in its own folder; omit {name}={options[name]}, or move "
                f"the folder there and resume it: resume={options[name]}"
            )
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"resume={resume}: {(folder / CONFIG_FILE).absolute()} cannot be read ({error}); give "
            "the folder of a run"
        ) from error
    require_command(resume, config, in_use().command)
    left_out = {*named(in_use().config, COMMAND), *options}
    of_run = [
        f"{name}={written(value)}"
        for name, value in leaves(config)
        # one that is given, or a group that it belongs to
        if left_out.isdisjoint(accumulate(name.split("."), "{}.{}".format))
    ]
    return [*of_run, f"{_RUN_DIR}={written(str(folder))}"]
