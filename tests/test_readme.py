"""Every command of the README runs, as it stands there, on small data and for a few steps."""

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
FROM_PYTHON, LOADED = [block for language, block in BLOCKS if language == "python"]

SMALL = [
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "batch.global_batch_size=8",
    "batch.max_length=32",
]
"""Added to each training command, so that it ends within seconds."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout, with notes of one's own and something like WikiText."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("train.py", "conf", "scripts", "benchmarks", "bert_lightning", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    (folder / "constraints.txt").symlink_to(ROOT / "constraints.txt")
    (folder / "notes").mkdir()
    topics = ["crane", "river", "bridge", "lamp", "garden", "letter"]
    for topic in topics:
        paragraph = f"The {topic} is here. It was there. Nobody saw the {topic} move."
        blocks = "\n\n".join([paragraph] * 4)
        (folder / "notes" / f"{topic}.txt").write_text(blocks + "\n", encoding="utf-8")
    (folder / "blimp").mkdir()
    pair = '{"sentence_good": "The lamp is here.", "sentence_bad": "The lamp here is."}\n'
    (folder / "blimp" / "pairs.jsonl").write_text(pair, encoding="utf-8")
    (folder / "wikitext-2").mkdir()
    for split in ("train", "valid", "test"):
        articles = [
            f" = {topic.title()} = \n \n The {topic} is here . It was there . Nobody <unk> it . \n"
            for topic in topics * 3
        ]
        text = "".join(articles)
        (folder / "wikitext-2" / f"wiki.{split}.tokens").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Offline, with a cache of its own, and `python` the one that runs the tests."""
    cache = tmp_path_factory.mktemp("cache")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(cache)}


def run(command: str, checkout: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        shell=True,
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_has_the_commands_that_are_tested_here() -> None:
    kinds = {shlex.split(command)[0] for command in COMMANDS}
    assert kinds == {"make", "source", "python", "tensorboard"}
    assert COMMANDS[:3] == ["make train", "make test", "source .venv/bin/activate"]


TRAINING = [command for command in COMMANDS if command.startswith("python train.py")]
GOING_ON = [command for command in TRAINING if "init_from=" in command]


def small(command: str) -> str:
    given = [option.split("=")[0] + "=" for option in shlex.split(command)]
    more = [option for option in SMALL if option.split("=")[0] + "=" not in given]
    if "8min" in command:
        more = [option for option in more if "max_steps" not in option] + ["optim.time_budget=1s"]
    return " ".join([command, *more]).replace("trainer.max_steps=300", "trainer.max_steps=2")


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in TRAINING if c not in GOING_ON])
def test_training_commands(command: str, checkout: Path, environment: dict[str, str]) -> None:
    output = run(small(command), checkout, environment)
    runs = 4 if " -m " in command else 1
    assert output.count("validation  MLM loss") == runs
    if "data.path" not in command:
        assert "BUILT-IN corpus" in output  # no hub here, and it says so


@pytest.mark.slow
def test_make_train(checkout: Path, environment: dict[str, str]) -> None:
    installed = f"{sys.prefix}/.installed"
    command = f"make --old-file={installed} train VENV={sys.prefix}"
    output = run(f'{command} ARGS="{" ".join(SMALL)}"', checkout, environment)
    assert "fill-in" in output


def test_make_test_runs_the_tests(checkout: Path, environment: dict[str, str]) -> None:
    assert "-m pytest" in run("make --dry-run test", checkout, environment)


@pytest.mark.slow
def test_what_a_trained_model_is_used_for(checkout: Path, environment: dict[str, str]) -> None:
    run(small("python train.py data=builtin"), checkout, environment)
    for command in COMMANDS:
        if command.startswith(("python scripts/", "python -m benchmarks.")):
            quick = " batch.global_batch_size=16 --rounds 1 --only ours-bf16 hf-best"
            quick = quick if "benchmarks.steps" in command else ""
            assert run(command + quick, checkout, environment).strip()
    for command in GOING_ON:
        assert "validation  MLM loss" in run(small(command), checkout, environment)
    (checkout / "example.py").write_text(
        LOADED + "\nassert single.vectors.shape == (6, 128)\nassert pair.vectors.shape == (10, 128)"
        '\nassert not (single.word("crane") == pair.word("crane")).all()\n',
        encoding="utf-8",
    )
    run("python example.py", checkout, environment)


@pytest.mark.slow
def test_training_from_python(checkout: Path, environment: dict[str, str]) -> None:
    (checkout / "trains.py").write_text(FROM_PYTHON + "\nprint(result)\n", encoding="utf-8")
    assert "20 steps on builtin" in run("python trains.py", checkout, environment)


@pytest.mark.slow
def test_tensorboard_shows_the_runs(checkout: Path, environment: dict[str, str]) -> None:
    run(small("python train.py data=builtin"), checkout, environment)
    (command,) = [command for command in COMMANDS if command.startswith("tensorboard")]
    server = subprocess.Popen(
        f"exec {command} --port 0 --host 127.0.0.1",
        shell=True,
        cwd=checkout,
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


def test_the_output_it_shows_is_the_recorded_one() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "update_readme.py"))
    assert "```text\nrun " in README
    assert script["filled"](README) == README


def test_the_path_from_text_to_loss_is_short() -> None:
    path = README.partition("<!-- path:begin -->")[2].partition("<!-- path:end -->")[0]
    files = [ROOT / name for name in re.findall(r"\((bert_lightning/[\w/]+\.py)\)", path)]
    assert len(files) == path.count("| [`") <= 16
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 2600
