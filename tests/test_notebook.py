"""A notebook trains, shows its progress and its curves, and tells mistakes in one line.

Those in `notebooks` are their scripts, and run as they stand there, for seconds.
"""

import re
import runpy
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
run_sync = pytest.importorskip("jupyter_core.utils").run_sync

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
OURS = sorted(file.stem for file in FOLDER.glob("*.ipynb"))
SETUP = """
import bert_lightning
SMALL = ["data=builtin", "model.hidden_size=32", "trainer.max_steps=5",
         "trainer.accelerator=cpu", "batch.global_batch_size=8", "batch.max_length=32"]
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the kernel inherits."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def client(folder: Path, *cells: str) -> Any:
    """A notebook of these cells after one that sets it up."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *cells)]
    )
    resources = {"metadata": {"path": str(folder)}}
    return nbclient.NotebookClient(
        notebook, kernel_name="python3", timeout=300, allow_errors=True, resources=resources
    )


def outputs(executed: Any) -> list[dict[str, list[Any]]]:
    """The outputs of each cell but the first, by their kind."""
    found = []
    for cell in executed.cells[1:]:
        by_kind: dict[str, list[Any]] = {}
        for output in cell.outputs:
            kind = output.get("name") or output.output_type
            by_kind.setdefault(kind, []).append(output)
        found.append(by_kind)
    return found


def text(streams: list[Any]) -> str:
    return "".join(stream.text for stream in streams)


@pytest.mark.parametrize("name", OURS)
def test_a_notebook_is_its_script(name: str) -> None:
    written = runpy.run_path(str(FOLDER / "to_ipynb.py"))["written"]
    again = "run: python notebooks/to_ipynb.py"
    assert (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8") == written(name), again


def test_a_script_becomes_cells() -> None:
    notebook_of = runpy.run_path(str(FOLDER / "to_ipynb.py"))["notebook_of"]
    script = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\n\n# a comment\nx\n"
    cells = notebook_of(script).cells
    assert [(cell.cell_type, cell.source) for cell in cells] == [
        ("markdown", "# Title\n\ntext"),
        ("code", "x = 1\n\n\n# a comment\nx"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_our_notebooks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTEBOOK_BUDGET", "1s")
    monkeypatch.setenv("NOTEBOOK_EPOCHS", "0.2")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = "".join(text([o for o in cell.outputs if "name" in o]) for cell in code)
    images = [o for cell in code for o in cell.outputs if "image/png" in o.get("data", {})]
    expected = {
        "from_text_to_loss": (2, ["joint loss ", "[MASK]", "next:", "random:", "validation  MLM"]),
        "pretrain_then_finetune": (1, ["\nrandom weights  ", "train: ", "TF-IDF"]),
    }[name]
    assert len(images) == expected[0]
    assert not [words for words in expected[1] if words not in printed]


@pytest.mark.slow
def test_a_notebook(tmp_path: Path) -> None:
    notebook = client(
        tmp_path,
        "result = bert_lightning.fit(SMALL)\nresult",
        'result.bert.encode("a crane is flying").tokens',
        "result.plot()",
        'bert_lightning.fit("model=tinny")',
        'bert_lightning.fit(SMALL, "trainer.devices=2")',
        'bert_lightning.fit(SMALL, "trainer.devices=2", "data.sentences=no:no")',
    ).execute()
    run, tokens, plot, mistake, several, later_mistake = outputs(notebook)

    assert set(run) == {"stdout", "display_data", "execute_result"}, run  # nothing on stderr
    assert "validation  MLM" in text(run["stdout"])
    (bar,) = run["display_data"]  # one, which is drawn anew
    assert bar.data["text/plain"].startswith("step 5/5  MLM ")
    assert bar.data["text/html"].startswith('<progress value="5" max="5">')
    (shown,) = run["execute_result"]
    assert shown.data["text/plain"].startswith("RunResult(runs/")
    assert len(shown.data["image/png"]) > 1000

    assert tokens["execute_result"][0].data["text/plain"].startswith("['[CLS]', 'a', ")
    assert len(plot["execute_result"][0].data["image/png"]) > 1000

    assert set(mistake) == {"error"}
    (error,) = mistake["error"]
    assert error.traceback == [f"UserError: {error.evalue}"]
    assert error.evalue.endswith("did you mean 'tiny'?")

    assert "2 devices" in text(several["stdout"])
    assert "\x1b" not in text(several["stdout"])  # a notebook asks for colors, and rich for a bar
    assert "5 steps on builtin" in several["execute_result"][0].data["text/plain"]
    assert later_mistake["error"][0].evalue.startswith("data.sentences=no:no: ")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_the_stop_button(devices: int, tmp_path: Path) -> None:
    options = f'"trainer.max_steps=100000", "trainer.devices={devices}", "run_dir=run"'
    notebook = client(tmp_path, f"bert_lightning.fit(SMALL, {options})", '"alive"')
    with notebook.setup_kernel():
        stop = run_sync(notebook.km.interrupt_kernel)
        Thread(target=lambda: wait_for_a_step(tmp_path / "run") and stop(), daemon=True).start()
        for place, cell in enumerate(notebook.nb.cells):
            notebook.execute_cell(cell, place)
    stopped, alive = outputs(notebook.nb)
    (error,) = stopped["error"]
    assert error.ename == "RunEnded"
    assert re.match(r"stopped at step \d+ by SIGINT; saved run/checkpoints/", error.evalue)
    assert alive["execute_result"][0].data["text/plain"] == "'alive'"


def wait_for_a_step(run: Path) -> bool:
    """Waits until a run has logged a step."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if (run / "metrics.csv").is_file() and "train/loss" in (run / "metrics.csv").read_text():
            return True
        time.sleep(0.2)
    return False
