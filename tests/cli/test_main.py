"""The `bert-lightning` program: its commands, how they are shown, and how they end."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bert_lightning.cli import main as program
from bert_lightning.cli.parsers import COMMANDS
from bert_lightning.runs.launched import shown_command

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
MODULE = [sys.executable, "-m", "bert_lightning"]
CapSys = pytest.CaptureFixture[str]


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the program in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["bert-lightning", *arguments])
    try:
        program.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_all_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: CapSys, arguments: list[str]
) -> None:
    assert started(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "finetune")])
def test_every_command_has_help(monkeypatch: pytest.MonkeyPatch, capsys: CapSys, name: str) -> None:
    assert started(monkeypatch, name, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: bert-lightning {name} [-h]")
    assert COMMANDS[name].purpose[1:] in " ".join(shown.split())


def test_every_script_is_a_command() -> None:
    scripts = [ROOT / "train.py", ROOT / "finetune.py", *(ROOT / "scripts").glob("*.py")]
    named = [
        line.split('"')[1]
        for script in scripts
        for line in script.read_text().splitlines()
        if line.startswith("main = command(")
    ]
    assert sorted(named) == sorted(COMMANDS)
    for found in COMMANDS.values():
        module, _, function = found.function.partition(":")
        assert callable(getattr(import_module(f"bert_lightning.cli.commands.{module}"), function))


def test_an_unknown_command(monkeypatch: pytest.MonkeyPatch, capsys: CapSys) -> None:
    assert started(monkeypatch, "trian") == 2
    assert capsys.readouterr().err == (
        f"error: unknown command 'trian'; choose from {', '.join(COMMANDS)}; "
        "did you mean 'train'?\n"
    )


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("/usr/bin/bert-lightning", "bert-lightning fill-mask"),
        ("a/site-packages/bert_lightning/__main__.py", "python -m bert_lightning fill-mask"),
        ("train.py", "python scripts/fill_mask.py"),
        ("./train.py", "python scripts/fill_mask.py"),
        ("scripts/doctor.py", "python scripts/fill_mask.py"),
        ("{here}/train.py", "python scripts/fill_mask.py"),
        ("/somewhere/else/train.py", "python /somewhere/else/scripts/fill_mask.py"),
        ("ipykernel_launcher.py", "bert-lightning fill-mask"),
    ],
)
def test_a_message_shows_commands_as_the_user_types_them(
    monkeypatch: pytest.MonkeyPatch, started: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started.format(here=Path.cwd())])
    assert shown_command("fill-mask") == shown


def test_a_shown_script_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    for name in COMMANDS:
        assert (ROOT / shown_command(name).removeprefix("python ")).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_the_program_quietly(
    arguments: list[str], unbuffered: str
) -> None:
    process = subprocess.Popen(
        [*MODULE, *arguments],
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode == 128 + 13


def test_a_mistake_is_told_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from bert_lightning.cli.main import main\n"
        "sys.argv = ['bert-lightning', 'train', 'model=tyni']\n"
        "try: main()\n"
        "except SystemExit as ended: code = ended.code\n"
        "heavy = {'torch', 'lightning', 'datasets', 'numpy', 'tokenizers', 'rich'}\n"
        "print(code, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "2 []\n"
    assert done.stderr.startswith("error: unknown model 'tyni'; choose from base, ")


@pytest.mark.parametrize(
    "start", [["train.py"], ["finetune.py"], ["-m", "bert_lightning", "train"]]
)
def test_a_python_without_the_packages_is_named(start: list[str]) -> None:
    """`-S` leaves out the installed ones, as where nobody activated the environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", *start],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: the Python at {sys.executable} has no ")
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
