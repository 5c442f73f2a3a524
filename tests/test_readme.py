"""Every command of the README runs, as it stands there, on small data and for a few steps.

It runs in the shell of a user who has followed the README up to there: with the programs of the
system, and behind the line that activates the environment.
"""

import json
import os
import re
import runpy
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

from bert_lightning.cli.app import compose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
ACTIVATE = "source .venv/bin/activate"
SYSTEM = "/usr/local/bin:/usr/bin:/bin"
BASH = shutil.which("bash", path=SYSTEM)
SHELL = pytest.mark.skipif(BASH is None or os.name == "nt", reason="no bash")
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
    for name in (
        "train.py",
        "finetune.py",
        "conf",
        "scripts",
        "benchmarks",
        "bert_lightning",
        "Makefile",
        "docs",
    ):
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
    senses = "bird\tthe crane moves\nbird\ta crane is here\nmachine\tno crane\nmachine\tcrane\n"
    (folder / "cranes.tsv").write_text(senses, encoding="utf-8")
    rows = "a lamp is here,yes\nno lamp is here,no\n" * 20
    (folder / "reviews.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    (folder / "wikitext-2").mkdir()
    for split in ("train", "valid", "test"):
        articles = [
            f" = {topic.title()} = \n \n The {topic} is here . It was there . Nobody <unk> it . \n"
            for topic in topics * 3
        ]
        text = "".join(articles)
        (folder / "wikitext-2" / f"wiki.{split}.tokens").write_text(text, encoding="utf-8")
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
    assert kinds == {"make", "source", "python3", "python", "tensorboard", "bert-lightning"}
    assert COMMANDS[:3] == ["make train", "make test", ACTIVATE]
    assert COMMANDS[3:7] == [
        "python3 -m venv .venv",
        ACTIVATE,
        "python -m pip install --constraint constraints.txt .",
        "bert-lightning train",
    ]
    assert (ROOT / "constraints.txt").is_file()


def test_what_runs_before_the_environment_is_active_is_on_every_system() -> None:
    for block in (block for language, block in BLOCKS if language == "bash"):
        before = block.partition(ACTIVATE)[0] if ACTIVATE in block else ""
        for command in before.splitlines():
            assert shlex.split(command)[0] in ("make", "python3")


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


def test_the_measured_batch_is_that_of_the_command() -> None:
    (command,) = [c for c in COMMANDS if c.startswith("python -m benchmarks.steps")]
    config = compose(ROOT / "conf", ["run_dir=.", *shlex.split(command)[3:]])
    record = json.loads((ROOT / "benchmarks" / "steps.json").read_text(encoding="utf-8"))
    assert config.batch.global_batch_size == record["pairs"]
    about = README.partition(command)[2].partition("<!-- steps:begin -->")[0]
    assert f"batch {record['pairs']}, length {config.batch.max_length}" in " ".join(about.split())
    asked = {option.split("=")[0] for option in shlex.split(command)[3:]}
    assert "batch.global_batch_size" in asked


@pytest.fixture(scope="module")
def trained(checkout: Path, environment: dict[str, str]) -> Path:
    """That folder with a run whose model others are for."""
    run(small("python train.py data=builtin run_dir=runs/first"), checkout, environment)
    return checkout


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
    assert output.count("\nvalidation  MLM loss") == runs
    if "data.path" not in command:
        assert "BUILT-IN corpus" in output  # no hub here, and it says so


@pytest.mark.slow
def test_make_train(checkout: Path, environment: dict[str, str]) -> None:
    output = run(f'make train ARGS="{" ".join(SMALL)}"', checkout, environment, activated=False)
    assert "fill-in" in output


@SHELL
def test_make_test_runs_the_tests(checkout: Path, environment: dict[str, str]) -> None:
    assert "-m pytest" in run("make --dry-run test", checkout, environment, activated=False)


@pytest.mark.slow
def test_without_make(checkout: Path, environment: dict[str, str]) -> None:
    output = run(small("bert-lightning train data=builtin"), checkout, environment)
    assert "next        bert-lightning fill-mask" in output


@pytest.mark.slow
def test_what_a_trained_model_is_used_for(trained: Path, environment: dict[str, str]) -> None:
    checkout = trained
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
def test_fine_tuning(trained: Path, environment: dict[str, str]) -> None:
    for command in (c for c in COMMANDS if c.startswith("python finetune.py")):
        assert "\nrandom weights  " in run(small(command), trained, environment)


@pytest.mark.slow
def test_training_from_python(checkout: Path, environment: dict[str, str]) -> None:
    (checkout / "trains.py").write_text(FROM_PYTHON + "\nprint(result)\n", encoding="utf-8")
    assert "20 steps on builtin" in run("python trains.py", checkout, environment)


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


def test_the_output_it_shows_is_the_recorded_one() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "update_readme.py"))
    assert "```text\nrun " in README
    assert script["filled"](README) == README


def test_the_scores_of_fine_tuning_are_the_recorded_ones() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "finetuning_table.py"))
    for page in script["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert "<!-- finetuning:begin -->" in text
        assert script["filled"](text) == text


def test_the_path_from_text_to_loss_is_short() -> None:
    path = README.partition("<!-- path:begin -->")[2].partition("<!-- path:end -->")[0]
    files = [ROOT / name for name in re.findall(r"\((bert_lightning/[\w/]+\.py)\)", path)]
    assert len(files) == path.count("| [`") <= 17
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 2900
