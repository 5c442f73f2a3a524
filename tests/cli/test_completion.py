"""Tab completion in bash, asked for by its variables and by a real key."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash")
TAB = """
tab() {
  COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
  _bert_lightning 2> /dev/null
  echo "${COMPREPLY[*]}"
}
"""
pty = pytest.importorskip("pty")
pytestmark = pytest.mark.skipif(BASH is None, reason="no bash")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with a train.py and another program, and a PATH that has `bert-lightning`."""
    folder = tmp_path_factory.mktemp("shell")
    for name in ("train.py", "conf", "bert_lightning"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bin").mkdir()
    programs = {
        "python": "",
        "bert-lightning": "-c 'from bert_lightning.cli.main import main; main()'",
    }
    for name, code in programs.items():
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {code} "$@"\n')
        program.chmod(0o755)
    (folder / "other.py").write_text("open('it_ran', 'w')\n")
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return folder, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def completed(shell: tuple[Path, dict[str, str]], *lines: str, before: str = "") -> list[list[str]]:
    """What bash offers after each of these lines."""
    folder, environment = shell
    tabs = "".join(f"tab {line!r}\n" for line in lines)
    script = f'eval "$(bert-lightning train -sc install=bash)"\n{before}\n{TAB}{tabs}'
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    offered = [line.split() for line in done.stdout.splitlines()]
    assert len(offered) == len(lines), done.stdout + done.stderr
    return offered


MODELS = ["base", "large", "medium", "mini", "small", "tiny"]


@pytest.mark.slow
def test_commands_options_and_values(shell: tuple[Path, dict[str, str]]) -> None:
    commands, plan, option, models, some, tasks, units, test, experiments, nothing = completed(
        shell,
        "bert-lightning ",
        "bert-lightning pl",
        "bert-lightning train trainer.dev",
        "bert-lightning train model=",
        "bert-lightning plan seed=1 model=t",
        "bert-lightning probe task=t",
        "bert-lightning train batch.masking.unit=",
        "bert-lightning train test=",
        "bert-lightning train experiment=t",
        "bert-lightning encode ru",
    )
    assert {"train", "fill-mask", "corpora"} <= set(commands)
    assert plan == ["plan"]
    assert option == ["trainer.devices="]
    assert models == MODELS
    assert some == ["tiny"]
    assert tasks == ["text", "tokens"]
    assert units == ["token", "word", "span"]
    assert test == ["true", "false"]
    assert "textbook" in experiments
    assert nothing == []


@pytest.mark.slow
def test_a_checkout_and_a_module_are_completed_alike(shell: tuple[Path, dict[str, str]]) -> None:
    assert (
        completed(shell, "python train.py model=m", "python -m bert_lightning train model=m")
        == [["medium", "mini"]] * 2
    )


def test_a_python_program_of_somebody_else_does_not_run(
    shell: tuple[Path, dict[str, str]],
) -> None:
    assert completed(shell, "python other.py ", "python other.py x") == [[], []]
    assert not (shell[0] / "it_ran").exists()


@pytest.mark.slow
def test_where_an_equals_sign_parts_no_words_the_option_is_repeated(
    shell: tuple[Path, dict[str, str]],
) -> None:
    (offered,) = completed(
        shell, "bert-lightning train model=t", before="COMP_WORDBREAKS=${COMP_WORDBREAKS//=}"
    )
    assert offered == ["model=tiny"]


@pytest.mark.slow
def test_it_can_be_removed(shell: tuple[Path, dict[str, str]]) -> None:
    folder, environment = shell
    script = """
        eval "$(bert-lightning train -sc install=bash)" && complete -p bert-lightning
        eval "$(bert-lightning train -sc uninstall=bash)"
        ! complete -p bert-lightning && ! declare -F _bert_lightning
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "-F _bert_lightning" in done.stdout


@pytest.fixture
def terminal(shell: tuple[Path, dict[str, str]]) -> Iterator[int]:
    """An interactive bash on a terminal of its own."""
    folder, environment = shell
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        environment = {**environment, "PS1": "$ ", "TERM": "dumb"}
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
    yield terminal
    os.close(terminal)
    os.waitpid(process, 0)


def shown(terminal: int, wanted: str, seconds: float = 60) -> str:
    """What the terminal shows until this pattern comes."""
    output, end = "", time.monotonic() + seconds
    while not re.search(wanted, output):
        assert time.monotonic() < end, output
        if select.select([terminal], [], [], 0.2)[0]:
            output += os.read(terminal, 65536).decode()
    return output


def test_the_tab_key(terminal: int) -> None:
    os.write(terminal, b'eval "$(bert-lightning train -sc install=bash)"; echo rea""dy\n')
    shown(terminal, "ready")
    os.write(terminal, b"bert-lightning train model=ti\t")
    shown(terminal, "model=tiny ")
    os.write(terminal, b"trainer.devi\t")
    shown(terminal, "trainer.devices=")
