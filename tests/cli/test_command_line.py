"""Command lines as their users mean them: what is typed is what the config holds."""

import logging
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bert_lightning.cli import app
from bert_lightning.cli.app import compose_for_script
from bert_lightning.cli.command_line import given, readable, readable_overrides, written
from bert_lightning.cli.from_python import compose_run
from bert_lightning.cli.implied_options import completed
from bert_lightning.cli.schema import conf_dir
from bert_lightning.config import CorpusConfig, TrainConfig
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import TaskKind
from bert_lightning.errors import UserError

TYPED = [
    *("runs/a/checkpoints/step=000002.ckpt", "a b", "größe/é", "日本/文", "book (1).txt", "it's"),
    *("C:\\new folder\\", "C:\\texts\\a'b", "a$b", "~/texts", "{a}", "[a]", "[a", "a,b", "a;b&c!"),
    *(
        "007",
        "1e3",
        "1_000",
        "true",
        "no",
        "choice(a,b)",
        "str(1)",
        "a:b",
        "#x",
        "`a`",
        " a ",
        "'a",
    ),
    *("a'", 'a"b', "*.txt", "a\nb", "^<x>|", "data.path=x", "=", "a\\", "100%"),
]


def read_by_hydra(argument: str) -> Any:
    """The value that a config gets by an argument."""
    value = OverridesParser.create().parse_override(argument).value()
    return OmegaConf.create({"option": value}).option


@pytest.mark.parametrize("text", TYPED)
def test_text_is_taken_as_it_is_typed(text: str) -> None:
    (argument,) = readable_overrides([f"data.path={text}"])
    assert readable([argument]) == [argument]  # as processes of the same run get it
    assert given([argument]) == {"data.path": text}
    assert read_by_hydra(argument) == text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("[runs/seed=0,runs/seed=1]", ["runs/seed=0", "runs/seed=1"]),
        ("[runs/a,b c/(d)]", ["runs/a", "b c/(d)"]),
        ('["lr=1,seed=2",runs/a=b]', ["lr=1,seed=2", "runs/a=b"]),
        ("[runs/a,runs/b]", ["runs/a", "runs/b"]),
    ],
)
def test_a_list_of_texts_is_taken_as_it_is_typed(typed: str, meant: list[str]) -> None:
    (argument,) = readable_overrides([f"objective.teachers={typed}"])
    assert readable([argument]) == [argument]
    assert read_by_hydra(argument) == meant
    (swept,) = readable([f"objective.teachers={typed}"])
    assert read_by_hydra(swept) == meant


def test_a_list_with_an_empty_item_is_refused() -> None:
    with pytest.raises(UserError, match=r"objective.teachers=\[a,,b=c\]: expects a list of text"):
        compose_for_script(conf_dir(), ["objective.teachers=[a,,b=c]"])


@pytest.mark.parametrize("number", ["2", "-1", "0.5"])
def test_a_number_is_neither_true_nor_false(number: str) -> None:
    with pytest.raises(UserError, match=f"model.bias={number}: expects true or false"):
        compose_for_script(conf_dir(), [f"model.bias={number}"])


def test_no_experiment_is_the_default_also_where_it_is_given() -> None:
    assert readable(["experiment=null", "-m", "seed=1"]) == ["-m", "seed=1"]
    assert compose_for_script(conf_dir(), ["experiment=null"]).seed == 0


def test_a_whole_command_line_is_taken_as_it_is_typed() -> None:
    typed = {"data.path": TYPED[0], "data.name": "1e3", "data.text_column": "true", "debug": "null"}
    config = compose_for_script(conf_dir(), [f"{name}={text}" for name, text in typed.items()])
    found = config.data.path, config.data.name, config.data.text_column, config.debug
    assert found == (TYPED[0], "1e3", "true", None)


@pytest.mark.parametrize(
    ("argument", "meant"),
    [("'a=b'", "a=b"), ('"a, b"', "a, b"), ("null", None), ("'null'", "null"), ("", "")],
)
def test_quotes_and_null_mean_what_they_mean_to_hydra(argument: str, meant: str | None) -> None:
    assert read_by_hydra(*readable_overrides([f"data.path={argument}"])) == meant


def test_an_interpolation_is_one_unless_a_backslash_says_that_it_is_text() -> None:
    for typed, meant in (("${seed}/x", "0/x"), ("\\${seed}/x", "${seed}/x")):
        assert compose_for_script(conf_dir(), [f"data.path={typed}"]).data.path == meant


@pytest.mark.parametrize("text", [*TYPED, "${seed}", "a\\${seed}", "null", "'q'"])
def test_a_config_from_python_or_of_a_resumed_run_keeps_its_text(text: str) -> None:
    assert read_by_hydra(*readable_overrides([f"data.path={written(text)}"])) == text


TEXTS = st.builds(
    lambda text, end: f"{text}{end}",
    st.text(max_size=20),
    st.sampled_from(["", "\\", "\\\\", "'", "\\'", "\\\\'", "${seed}", "\\${", "}"]),
)


@settings(deadline=None, max_examples=60)
@hypothesis.given(TEXTS)
def test_any_text_survives_the_grammar(text: str) -> None:
    hypothesis.assume(text != "???")  # what OmegaConf calls missing
    assert read_by_hydra(f"data.path={written(text)}") == text
    typed = text.replace("${", "$(")
    if not typed.startswith(("'", '"')) and typed.lower() != "null" and typed != "???":
        (argument,) = readable_overrides([f"data.path={typed}"])
        assert read_by_hydra(argument) == typed == given([argument])["data.path"]


def test_a_whole_config_from_python_keeps_its_text(tmp_path: Path) -> None:
    config = TrainConfig(CorpusConfig(path="${a}=b, 'c'"), run_dir=str(tmp_path / "a=b"))
    composed, options = compose_run(config)
    assert composed == config
    assert completed(readable_overrides(options))[-1].startswith("hydra.run.dir=")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("init_from=a/step=1.ckpt,b (1)", "init_from='a/step=1.ckpt','b (1)'"),
        ("init_from='a,b',c", "init_from='a,b',c"),
        ("init_from=choice(a=1,b)", "init_from=choice('a=1',b)"),
        ("optim.lr=1e-3,1e-4", "optim.lr=1e-3,1e-4"),
        ("batch.phases=[{fraction:1,max_length:9}],null", None),
        ("seed=range(1,4)", None),
        ("experiment=größe,tiny_8min", "experiment='größe',tiny_8min"),
        ("hydra.sweep.dir=a,b=c", "hydra.sweep.dir=a,'b=c'"),
        ("~optim.lr", None),
        ("+data.path=a=b", "+data.path='a=b'"),
    ],
)
def test_in_a_sweep_commas_separate_values(argument: str, expected: str | None) -> None:
    assert readable(["-m", argument]) == ["-m", expected or argument]


def test_flags_stand_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b (c").mkdir()
    folder = f"--config-dir={tmp_path}/a=b (c"
    for line in (["seed=1", "-m", "-cd", "a=b (c", "test=true"], [folder, "-m", "seed=1"]):
        assert readable(line)[:3] == ["-m", folder, "seed=1"]


def test_one_run_has_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completed(["run_dir=a"]) == ["run_dir=a", "hydra.run.dir='a'"]
    assert completed(["run_dir=a", "resume=auto"])[-1] == "hydra.run.dir='a'"
    assert completed(["run_dir=null"]) == ["run_dir=null"]
    with pytest.raises(UserError, match=r"run_dir=a and hydra\.run\.dir=b name two folders"):
        completed(["run_dir=a", "hydra.run.dir=b"])
    for name in ("run_dir", "hydra.run.dir"):
        (tmp_path / "r").mkdir(exist_ok=True)
        (tmp_path / "r" / "run.json").write_text("{}")
        with pytest.raises(UserError, match=f"omit {name}=s, or move the folder there"):
            completed(["resume=r", f"{name}=s"])
        assert completed(["resume=r", f"{name}=r"])


@pytest.mark.parametrize("in_a_file", [False, True], ids=["command line", "file"])
def test_all_of_a_run_lies_in_its_run_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_file: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run_dir=my (run)"]
    if in_a_file:
        own = tmp_path / "own" / "experiment"
        own.mkdir(parents=True)
        (own / "mine.yaml").write_text("# @package _global_\nrun_dir: my (run)\n")
        arguments = ["--config-dir=own", "experiment=mine"]
    configs: list[TrainConfig] = []
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    app.run(conf_dir(), configs.append)
    root.handlers[:], root.level = handlers, level
    GlobalHydra.instance().clear()
    assert configs[0].run_dir == "my (run)"
    assert not (tmp_path / "runs").exists()
    assert {path.name for path in (tmp_path / "my (run)").iterdir()} == {".hydra", "train.log"}


def test_a_command_has_the_options_of_its_schema() -> None:
    config = compose_for_script(conf_dir(), ["task=tokens", "data.path=a,b=c"], "finetune")
    assert isinstance(config, FinetuneConfig)
    assert (config.task.kind, config.data.path) == (TaskKind.tokens, "a,b=c")
    with pytest.raises(UserError, match=r"data\.sentences: no such option"):
        compose_for_script(conf_dir(), ["data.sentences=pysbd"], "finetune")
    assert isinstance(compose_for_script(conf_dir(), []), TrainConfig)


def test_in_a_sweep_a_comma_in_the_name_of_a_folder_separates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "optim.lr=0.003,seed=1").mkdir()
    given = ["-m", "init_from=optim.lr=0.003,seed=1", "run_dir=optim.lr=0.003,seed=2"]
    _, one, two = readable(given)
    assert one == "init_from='optim.lr=0.003,seed=1'"
    assert two == "run_dir='optim.lr=0.003','seed=2'"
