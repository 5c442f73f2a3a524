"""A sweep: its trials, whichever launcher starts them, then their table; failed ones are named."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from bert_lightning.cli.command_line import written
from bert_lightning.cli.many_runs.trials import Trials, TrialTask
from bert_lightning.cli.many_runs.waiting import begin, passing_on
from bert_lightning.cli.search.settings import TARGET
from bert_lightning.errors import UserError
from bert_lightning.runs.launched import SIGNALS, TRIALS


def sweep(
    composer: Hydra, asked: Namespace, config: DictConfig, trials: Trials
) -> tuple[int, list[str]]:
    """Runs the trials of a sweep by Hydra's sweeper and launcher, whichever the config names.

    So does a search, which chooses them by their results. Prints the table of the trials that are
    complete. Returns the highest exit code, and the lines
    that name the trials that failed or were stopped.

    Raises:
        UserError: all trials would have the same folder, or the metric cannot be logged.
    """
    if config.run_dir:
        raise UserError(
            f"run_dir={config.run_dir} would be the folder of every trial of this sweep; "
            "hydra.sweep.dir=FOLDER names the sweep's, in which each trial has its own"
        )
    if config.optimized_metric is not None:
        from bert_lightning.reports.comparison.metric import check_name  # with torch, slow

        check_name(config.optimized_metric, tests=config.get("test", True))
    folder = Path(config.hydra.sweep.dir)
    parsed = OverridesParser.create().parse_overrides(asked.overrides)
    varies = {one.get_key_element(): one.is_sweep_override() for one in parsed}  # the last counts
    alike = sorted(name for name, varied in varies.items() if not varied)
    # Hydra composes the config again, and would give the folder the time of that moment.
    own = [
        "hydra.mode=MULTIRUN",
        f"hydra.sweep.dir={written(str(folder))}",
        f"hydra.job.config.override_dirname.exclude_keys={written(alike)}",
    ]
    trials = replace(
        trials, alike=frozenset(alike), metric=config.optimized_metric, process=os.getpid()
    )
    task = TrialTask(trials)
    if config.hydra.sweeper.get("_target_") == TARGET:
        _register_search()
        found: tuple[int, list[str]]
        found = composer.multirun(asked.config_name, task, [*asked.overrides, *own])
        return found
    begin(folder)
    (folder / TRIALS).unlink(missing_ok=True)  # of an earlier sweep
    codes = []
    with passing_on(folder) as stops:
        try:
            composer.multirun(asked.config_name, task, [*asked.overrides, *own])
        except SystemExit as leaving:
            codes.append(int(leaving.code or 0))
    codes += [128 + number for number in stops[:1]]
    ended = [one for one in _ends(folder / TRIALS) if one["exit_code"]]
    codes += [one["exit_code"] for one in ended]
    if (folder / TRIALS).is_file():  # else a signal came before the first trial
        _print_table(folder)
    return max(codes, default=0), [*_told(ended, folder)]


def _register_search() -> None:
    """Has Hydra know the sweeper of a search, wherever the project is installed.

    Hydra looks for plugins in folders alone, and an editable install has none.

    Raises:
        UserError: Optuna is not installed, or an install is older than the search.
    """
    if find_spec("optuna") is None:
        raise UserError(
            "a hyperparameter search needs Optuna: pip install 'bert-lightning[search]', or "
            "pip install 'optuna>=4.9'"
        )
    try:
        from hydra_plugins.bert_lightning_search import Search
    except ModuleNotFoundError as error:
        raise UserError(
            f"{TARGET} is not found: install this version of the project again, such as by "
            "pip install --editable ."
        ) from error
    Plugins.instance().register(Search)


def _ends(file: Path) -> list[dict[str, Any]]:
    """Returns the last note of each trial that has ended, in the order of their numbers."""
    if not file.is_file():
        return []
    notes = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    ends = {note["trial"]: note for note in notes if "exit_code" in note}
    return [ends[number] for number in sorted(ends)]


def _told(ended: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    kinds: dict[str, list[str]] = {"failed": [], "were stopped": []}
    for one in ended:
        stopped = one["exit_code"] - 128 in SIGNALS
        kinds["were stopped" if stopped else "failed"].append(
            f"{one['folder']} (exit code {one['exit_code']})"
        )
    for how, names in kinds.items():
        if names:
            yield f"trials that {how}: {', '.join(names)}; their folders are in {folder}"


def _print_table(folder: Path) -> None:
    from bert_lightning.reports.comparison.found import find_runs  # with torch, slow to import
    from bert_lightning.reports.comparison.ranking import compare
    from bert_lightning.reports.comparison.table import lines
    from bert_lightning.reports.page.safely import write_page_of_sweep
    from bert_lightning.reports.page.write import PAGE

    print("\n".join(lines(compare(find_runs([folder])))))
    write_page_of_sweep(folder)
    print(f"report      {folder / PAGE}")
    print(f"curves      tensorboard --logdir {folder}", flush=True)
