"""The scripts: what they print, and how they end when the user is wrong."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import bert_lightning
from bert_lightning.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts"
Script = Callable[[str], ModuleType]
CapSys = pytest.CaptureFixture[str]
TEXT = "a crane is flying"


@pytest.fixture
def run_folder(tmp_path: Path, write_checkpoint: Callable[..., Path]) -> str:
    write_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    return str(tmp_path / "run")


def test_encode_prints_a_line_a_token(script: Script, run_folder: str, capsys: CapSys) -> None:
    script("encode").main([run_folder, TEXT])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["[CLS]", *TEXT.split(), "[SEP]"]
    vector = bert_lightning.load(run_folder).encode(TEXT).vectors[2]
    shown = [float(value) for value in lines[3].split()[1:]]
    assert shown == pytest.approx([float(vector.norm()), *vector[:4].tolist()], abs=1e-3)


def test_encode_compares_a_word_in_both_texts(
    script: Script, run_folder: str, capsys: CapSys
) -> None:
    script("encode").main([run_folder, "the crane left", "a Crane came", "--word", "crane"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("cosine of crane[0] and crane[1]: ")
    encoded = bert_lightning.load(run_folder).encode("the crane left", "a crane came")
    a, b = encoded.vectors[2], encoded.vectors[6]
    assert float(last.split()[-1]) == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-4)


def test_encode_shows_a_layer(script: Script, run_folder: str, capsys: CapSys) -> None:
    script("encode").main([run_folder, TEXT, "--layer", "1"])
    shown = [float(value) for value in capsys.readouterr().out.splitlines()[3].split()[2:]]
    bert = bert_lightning.load(run_folder)
    assert shown == pytest.approx(bert.encode(TEXT, layer=1).vectors[2, :4].tolist(), abs=1e-3)
    assert shown != pytest.approx(bert.encode(TEXT).vectors[2, :4].tolist(), abs=1e-3)


def test_encode_saves_tokens_and_vectors(
    script: Script, run_folder: str, tmp_path: Path, capsys: CapSys
) -> None:
    script("encode").main([run_folder, TEXT, "--output", str(tmp_path / "out.npz")])
    saved = np.load(tmp_path / "out.npz")
    assert saved["tokens"].tolist() == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert saved["vectors"].shape == (6, 128)
    with pytest.raises(SystemExit):
        script("encode").main([run_folder, TEXT, "--output", str(tmp_path / "absent/out.npz")])
    assert f"{tmp_path / 'absent/out.npz'} cannot be written" in capsys.readouterr().err


def test_fill_mask_prints_words(script: Script, run_folder: str, capsys: CapSys) -> None:
    script("fill_mask").main([run_folder, "the [MASK] left", "--top", "3"])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = bert_lightning.load(run_folder).fill_mask("the [MASK] left", 3)
    assert printed == [[fill.token, f"{fill.probability:.4f}"] for fill in expected]


def test_is_next_prints_a_probability(script: Script, run_folder: str, capsys: CapSys) -> None:
    script("is_next").main([run_folder, "a crane came", "he left"])
    expected = bert_lightning.load(run_folder).is_next("a crane came", "he left")
    assert capsys.readouterr().out == f"{expected:.4f}\n"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("encode", ["crane " * 20], "has 22 tokens"),
        ("encode", [TEXT, "--layer", "3"], "layer=3: this model has layers 0"),
        ("encode", [TEXT, "--word", "fox"], "'fox' is not in the text"),
        ("fill_mask", [TEXT], "has no [MASK]"),
        ("is_next", [TEXT, ""], "the second text is empty"),
    ],
)
def test_a_users_error_is_one_message_and_exit_code_2(
    script: Script, run_folder: str, capsys: CapSys, name: str, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        script(name).main([run_folder, *arguments])
    assert caught.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_truncate_is_offered_by_each_script(
    script: Script, run_folder: str, capsys: CapSys
) -> None:
    long = "crane " * 20
    script("encode").main([run_folder, long, "--truncate"])
    script("fill_mask").main([run_folder, f"[MASK] {long}", "--truncate"])
    script("is_next").main([run_folder, long, long, "--truncate"])
    assert len(capsys.readouterr().out.splitlines()) == 17 + 5 + 1


def test_the_traceback_is_there_for_those_who_want_it(
    script: Script, run_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError, match="has no"):
        script("fill_mask").main([run_folder, TEXT])


@pytest.mark.slow
def test_a_script_runs_as_a_program(run_folder: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPTS / "encode.py"), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent), "HYDRA_FULL_ERROR": ""},
            check=False,
        )

    good = run(run_folder, TEXT)
    assert good.returncode == 0, good.stderr
    assert len(good.stdout.splitlines()) == 7
    assert f"loaded {tmp_path / 'run/checkpoints/last.ckpt'}" in good.stderr
    bad = run("absent", TEXT)
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.startswith(f"error: {tmp_path / 'absent'} does not exist")
    assert len(bad.stderr.splitlines()) == 1
