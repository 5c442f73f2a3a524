"""A config from somebody else runs no code and reads no secrets."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bert_lightning.cli import app as cli
from bert_lightning.cli.allowlist import refuse_foreign_code
from bert_lightning.errors import UserError

ROOT = Path(__file__).parents[2]
FOREIGN = [
    "hydra.callbacks.x._target_=os.system",
    "hydra.callbacks.x._target_=torch.hub.load",
    "hydra.launcher._target_=pandas.read_pickle",
    "hydra.sweeper._target_=hydra._internal.utils._locate",
    "hydra.sweeper.params.0._target_=subprocess.Popen",
    "hydra.job_logging.handlers.x.class=subprocess.Popen",
    "hydra.job_logging.handlers.console.stream=ext://os.environ",
    "hydra.hydra_logging.formatters.x.()=os.system",
    "model._target_=os.system",
    "batch.masking._target_=builtins.eval",
]


@pytest.mark.parametrize("setting", FOREIGN)
def test_code_that_is_not_hydras_own_is_refused(setting: str) -> None:
    name, _, value = setting.partition("=")
    config = OmegaConf.create()
    OmegaConf.update(config, name, value, force_add=True)
    with pytest.raises(UserError, match="may not name code to run"):
        refuse_foreign_code(config)


def test_hydras_own_parts_pass() -> None:
    own = ["BasicLauncher", "BasicSweeper"]
    targets = [f"hydra._internal.core_plugins.{name.lower()}.{name}" for name in own]
    targets += ["hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"]
    for target in targets:
        refuse_foreign_code(OmegaConf.create({"hydra": {"sweeper": {"_target_": target}}}))


def test_nothing_is_resolved_while_looking() -> None:
    refuse_foreign_code(OmegaConf.create({"a": "${b}", "b": "???", "c": [None, "${absent:x}"]}))


@pytest.mark.parametrize("flags", [[], pytest.param(["-m"], marks=pytest.mark.slow)])
def test_a_config_file_that_names_code_ends_before_it_runs(
    tmp_path: Path, flags: list[str]
) -> None:
    """A folder of configs from somebody else, added with Hydra's own flag."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    touched = tmp_path / "touched"
    (tmp_path / "conf" / "experiment" / "nice.yaml").write_text(
        "# @package _global_\nhydra:\n  callbacks:\n    x:\n"
        f"      _target_: pathlib.Path.touch\n      self: {touched}\n"
    )
    command = [sys.executable, str(ROOT / "train.py"), *flags, "--config-dir", "conf"]
    done = subprocess.run(
        [*command, "experiment=nice"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: hydra.callbacks.x._target_=pathlib.Path.touch: a config ")
    assert done.stderr.count("\n") == 1
    assert not touched.exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["${oc.env:SECRET}", "${eval:1+1}", "${python:1}"])
def test_no_environment_and_no_evaluation(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(UserError, match="reads no environment variables and runs no code") as error:
        cli.compose_for_script(ROOT / "conf", [f"data.path='{value}'"])
    assert "hunter2" not in str(error.value)


def test_the_project_itself_builds_nothing_that_a_config_names() -> None:
    """No call of Hydra's `instantiate`, no `eval`, and one place that imports by name."""
    called: dict[str, set[str]] = {}
    for path in (ROOT / "bert_lightning").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                called.setdefault(name, set()).add(path.name)
    for name in ("instantiate", "get_class", "get_method", "exec"):
        assert name not in called, called[name]
    # The one resolver takes no argument, and names the folder of a trial.
    assert called["register_new_resolver"] == {"naming.py"}
    assert "builtins.eval" not in called
    # Only what is marked with @extension, and the program's own commands.
    assert called["import_module"] == {"extensions.py", "main.py"}
