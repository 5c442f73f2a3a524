"""Every command of the README runs, as it stands there, on small data and for a few steps.

It runs in the shell of a user who has followed the README up to there: with the programs of the
system, and behind the line that activates the environment. What the docs say is in
`test_docs_commands.py`, and that no table is out of date in `test_docs_pages.py`.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pages import README, ROOT, blocks, commands, make_checkout

COMMANDS = commands(README)
ACTIVATE = "source .venv/bin/activate"
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
BASH = shutil.which("bash", path=SYSTEM)
SHELL = pytest.mark.skipif(BASH is None or os.name == "nt", reason="no bash")
(EXAMPLE,) = blocks(README, "python")
INSTALL = commands(ROOT / "docs" / "install.md")

SMALL = [
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "batch.global_batch_size=8",
    "batch.max_length=32",
]
"""Added to each training command, so that it ends within seconds."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout, with an environment."""
    folder = make_checkout(tmp_path_factory.mktemp("checkout"))
    environment_of(folder / ".venv")
    return folder


def environment_of(venv: Path) -> None:
    """Makes an environment that has what `make train` and `make test` install into one.

    It finds the packages of the one that runs the tests, and has programs of its own.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    (packages / "tested.pth").write_text("\n".join(paths) + "\n", encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (tensorboard,) = entry_points(group="console_scripts", name="tensorboard")
    programs = {**project["scripts"], "tensorboard": tensorboard.value}
    for program, starts in programs.items():
        script, (module, _, function) = venv / "bin" / program, starts.partition(":")
        imports = f"#!{venv}/bin/python\nimport sys\nfrom {module} import {function}\n"
        script.write_text(f"{imports}sys.exit({function}())\n", encoding="utf-8")
        script.chmod(0o755)
    for installed in (".installed", ".installed-dev"):
        (venv / installed).touch()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user's, with a home of its own and no network; nothing of the tests' own gets in."""
    home = str(tmp_path_factory.mktemp("home"))
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {"PATH": SYSTEM, "HOME": home, "XDG_CACHE_HOME": home, "LANG": "C.UTF-8", **offline}


def call(
    command: str, checkout: Path, environment: dict[str, str], activated: bool = True
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(BASH), "-c", f"{ACTIVATE}\n{command}" if activated else command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run(command: str, checkout: Path, environment: dict[str, str], activated: bool = True) -> str:
    done = call(command, checkout, environment, activated)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_has_the_commands_that_are_tested_here() -> None:
    kinds = {shlex.split(command)[0] for command in COMMANDS}
    assert kinds == {"make", "source", "python", "tensorboard"}
    assert COMMANDS[:2] == ["make train ARGS=run_dir=runs/first", ACTIVATE]
    assert all(command.startswith("make test") for command in COMMANDS[2:4])


def test_the_way_without_make_is_the_one_that_is_tested_here() -> None:
    place = INSTALL.index("python3 -m venv .venv")
    assert INSTALL[place : place + 4] == [
        "python3 -m venv .venv",
        ACTIVATE,
        "python -m pip install --constraint constraints.txt .",
        "bert-lightning train",
    ]
    assert (ROOT / "constraints.txt").is_file()


@SHELL
def test_no_command_lives_on_the_python_that_runs_the_tests(
    checkout: Path, environment: dict[str, str]
) -> None:
    for python in ("python", "python3"):
        command = f"{python} -c 'import hydra, torch, bert_lightning'"
        assert call(command, checkout.parent, environment, activated=False).returncode != 0
    where = run("which python tensorboard bert-lightning", checkout, environment)
    assert set(map(Path, where.split())) == {
        checkout / ".venv" / "bin" / name for name in ("python", "tensorboard", "bert-lightning")
    }


@pytest.fixture(scope="module")
def trained(checkout: Path, environment: dict[str, str]) -> Path:
    """That folder with a run whose model others are for."""
    run(small("python train.py data=builtin run_dir=runs/first"), checkout, environment)
    return checkout


TRAINING = [command for command in COMMANDS if command.startswith("python train.py")]


def small(command: str) -> str:
    given = [option.split("=")[0] + "=" for option in shlex.split(command)]
    more = [option for option in SMALL if option.split("=")[0] + "=" not in given]
    return " ".join([command, *more])


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINING)
def test_training_commands(command: str, checkout: Path, environment: dict[str, str]) -> None:
    output = run(small(command), checkout, environment)
    runs = 4 if " -m " in command else 1
    assert output.count("\nvalidation  MLM loss") == runs
    if "data.path" not in command:
        assert "BUILT-IN corpus" in output  # no hub here, and it says so


@pytest.mark.slow
def test_make_train(checkout: Path, environment: dict[str, str]) -> None:
    assert COMMANDS[0].endswith("ARGS=run_dir=runs/first")
    command = f'make train ARGS="run_dir=runs/made {" ".join(SMALL)}"'
    output = run(command, checkout, environment, activated=False)
    assert "fill-in" in output


@SHELL
def test_make_test_runs_the_tests(checkout: Path, environment: dict[str, str]) -> None:
    everything, part = (
        run(command.replace("make", "make --dry-run"), checkout, environment, activated=False)
        for command in COMMANDS[2:4]
    )
    assert "-m pytest" in everything
    assert all((ROOT / name).is_dir() for name in re.findall(r"tests/\w+", part))
    assert len(part) > len(everything)


@pytest.mark.slow
def test_without_make(checkout: Path, environment: dict[str, str]) -> None:
    output = run(small("bert-lightning train data=builtin"), checkout, environment)
    assert "next        bert-lightning fill-mask" in output


@pytest.mark.slow
def test_what_a_trained_model_is_used_for(trained: Path, environment: dict[str, str]) -> None:
    for command in COMMANDS:
        if command.startswith("python scripts/"):
            assert run(command, trained, environment).strip()
    shown = (trained / "runs" / "first" / "crane.png").is_file()
    assert shown or list((trained / "runs" / "first").glob("*crane*.png"))
    (trained / "example.py").write_text(
        EXAMPLE + "\nassert single.vectors.shape == (6, 128)\nprint(result)\n", encoding="utf-8"
    )
    assert "20 steps on builtin" in run("python example.py", trained, environment)


@pytest.mark.slow
def test_fine_tuning(trained: Path, environment: dict[str, str]) -> None:
    (command,) = [c for c in COMMANDS if c.startswith("python finetune.py")]
    output = run(f"{command} trainer.max_steps=2", trained, environment)
    assert "\nrandom weights  " in output
    assert "on 18 examples" in output


@pytest.mark.slow
def test_tensorboard_shows_the_runs(trained: Path, environment: dict[str, str]) -> None:
    (command,) = [command for command in COMMANDS if command.startswith("tensorboard")]
    server = subprocess.Popen(
        [str(BASH), "-c", f"{ACTIVATE}\nexec {command} --port 0 --host 127.0.0.1"],
        cwd=trained,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        address = None
        while address is None:
            line = server.stderr.readline()
            assert line, "tensorboard ended"
            address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        for _ in range(60):
            with urllib.request.urlopen(f"{address.group()}data/plugin/scalars/tags") as answer:
                tags = answer.read().decode()
            if "val/mlm_loss" in tags:
                break
            time.sleep(1)
        assert "val/mlm_loss" in tags
        assert "train/nsp_loss" in tags
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
