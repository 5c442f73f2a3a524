"""The wheel: what is in it, and that it does all its work outside the checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
TEMPLATES = "bert_lightning/reports/page/templates/*"
SMALL = [
    *("data=builtin", "trainer.max_steps=2", "batch.global_batch_size=8", "batch.max_length=32"),
    *("trainer.val_check_interval=2", "trainer.limit_val_batches=1", "trainer.accelerator=cpu"),
]


def modules() -> set[str]:
    """All Python files of the package, by their paths below the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in ("bert_lightning", "hydra_plugins")
        for path in ROOT.glob(f"{package}/**/*.py")
    }


def test_the_wheel_lists_every_package() -> None:
    folders = {Path(module).parent.as_posix().replace("/", ".") for module in modules()}
    assert set(SETUPTOOLS["packages"]) == {*folders, "bert_lightning.conf"}
    assert SETUPTOOLS["package-dir"] == {"bert_lightning.conf": "conf"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a fresh copy: what earlier builds leave behind would get into it."""
    if find_spec("setuptools") is None:
        pytest.skip("no setuptools, which builds the wheel")
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("bert_lightning", "hydra_plugins", "conf", "benchmarks", "tests", "scripts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command = [*pip, "--no-index", "--wheel-dir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.mark.slow
def test_it_holds_the_package_and_its_configs_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    configs = {
        f"bert_lightning/{path.relative_to(ROOT).as_posix()}"
        for path in ROOT.glob("conf/**/*.yaml")
    }
    assert "bert_lightning/conf/train.yaml" in configs
    data = {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "bert_lightning/pictures/sentences/*.tsv",
            "bert_lightning/**/*.c",
            TEMPLATES,
        )
        for path in ROOT.glob(pattern)
    }
    assert len(data) > 4
    assert names == {*modules(), *configs, *data, "bert_lightning/py.typed"}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which the wheel is installed, beside its dependencies."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=300)
    programs = venv / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=300)
    # After pip, which would take the project for installed already.
    (site,) = venv.glob("**/site-packages")
    base = [path for path in sys.path if path.endswith("site-packages")]
    (site / "base.pth").write_text("\n".join(base) + "\n")
    return programs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


def run(installed: Path, place: Path, program: str, *arguments: str) -> str:
    """Runs a program of that environment outside the checkout; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(place / "cache")}
    done = subprocess.run(
        [str(installed / program), *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_it_works_outside_the_checkout(installed: Path, place: Path) -> None:
    where = run(installed, place, "python", "-c", "import bert_lightning as b; print(b.__file__)")
    assert Path(where).is_relative_to(installed.parent)
    assert "fill-mask" in run(installed, place, "bert-lightning", "--help")

    trained = run(installed, place, "bert-lightning", "train", *SMALL, "hydra.run.dir=first")
    shown = 'bert-lightning fill-mask first "the [MASK] is new"'
    assert f"next        {shown}" in trained
    fills = run(installed, place, "bert-lightning", "fill-mask", "first", "the [MASK] is new")
    assert len(fills.splitlines()) == 5
    assert "parameters" in run(
        installed, place, "python", "-m", "bert_lightning", "plan", "model=large"
    )


@pytest.mark.slow
def test_it_starts_the_processes_of_a_sweep_and_of_devices(installed: Path, place: Path) -> None:
    program = ("python", "-m", "bert_lightning", "train", "-m", *SMALL)
    options = ("trainer.devices=2", "seed=1,2", "hydra.sweep.dir=sweep")
    output = run(installed, place, *program, *options)
    assert output.count("on 2 cpu") == 2
    for seed in (1, 2):
        assert (place / "sweep" / f"seed={seed}" / "summary.json").is_file()
    assert "2 runs by val/loss, the lowest first" in output
