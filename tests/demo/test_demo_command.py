"""The demo's command: what it refuses, where it listens, and the page in a real browser."""

import re
import signal
import socket
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Chromium
from real_runs import Run

from bert_lightning.cli.commands import demo
from bert_lightning.cli.main import command
from bert_lightning.demo import serving
from bert_lightning.errors import UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"
HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server((HOST, 0)) as other:
        yield other.getsockname()[1]


def test_without_gradio_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        demo, "find_spec", lambda name: None if name == "gradio" else find_spec(name)
    )
    with pytest.raises(SystemExit) as ended:
        command("demo")(["no such run"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: the demo needs the package gradio, which is not installed: "
        "pip install 'bert-lightning[demo]'"
    ]


def test_a_port_that_is_asked_for_and_taken_is_refused(taken: int) -> None:
    with pytest.raises(UserError, match=f"--port {taken}: another program listens there"):
        serving.listen(HOST, taken)


def test_the_next_free_port_is_found(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PORT", taken)
    with serving.listen(HOST, None) as listening:
        assert taken < listening.getsockname()[1] < taken + serving.PORTS
    monkeypatch.setattr(serving, "PORTS", 1)
    with pytest.raises(UserError, match=f"ports {taken} to {taken} of {HOST} are taken"):
        serving.listen(HOST, None)


@pytest.mark.parametrize(("host", "port"), [(HOST, 70_000), ("192.0.2.1", 0)])
def test_a_place_that_cannot_be_had_is_refused(host: str, port: int) -> None:
    with pytest.raises(UserError, match=f"--host {re.escape(host)} --port {port}: "):
        serving.listen(host, port)


@pytest.mark.slow
def test_the_page_answers_in_a_browser_and_asks_nobody_else(
    chromium: Chromium,
    start: Callable[..., Run],
    save_hf: Callable[..., Path],
    tmp_path: Path,
) -> None:
    pytest.importorskip("gradio", reason="no gradio")
    models = [save_hf(tmp_path / "whole"), save_hf(tmp_path / "bare", "BertModel")]
    run = start(tmp_path / "run", *map(str, models), "--port", "0", script=SCRIPT)
    (url,) = run.until(lambda: re.findall(r"^http://127\.0\.0\.1:\d+", run.stdout, re.MULTILINE))
    page = chromium.page
    page.goto(url)

    def panel() -> str:
        return page.get_by_role("tabpanel").filter(visible=True).inner_text()

    def ask(title: str, **fields: str) -> None:
        page.get_by_role("tab", name=title).click()
        for label, text in fields.items():
            page.get_by_label(label, exact=True).filter(visible=True).fill(text)
        page.get_by_role("button", name="Ask").filter(visible=True).click()

    page.get_by_text("all other words").filter(visible=True).wait_for()  # nobody has pressed Ask
    assert "Not for this model: it has no masked-language-model head" in panel()

    ask("Fill [MASK]", **{"A text with one [MASK]": "the crane is flying"})
    page.get_by_text("The text has no [MASK]").wait_for()
    assert "all other words" not in panel()

    ask("Fill [MASK]", **{"A text with one [MASK]": "the [MASK] is flying"})
    page.get_by_text("all other words").filter(visible=True).wait_for()
    assert panel().count("%") == 11

    ask("Next sentence", A="the crane is flying", B="he left")
    page.get_by_text("B is from elsewhere").filter(visible=True).wait_for()

    ask("Word in context", **{"A word": "fox"})
    assert page.get_by_text("Sentence 1: 'fox' is not in the text").nth(1).inner_text()
    ask("Word in context", **{"A word": "crane"})
    page.locator("img[alt='cosine of each two']").filter(visible=True).nth(1).wait_for()

    assert not chromium.outside
    assert not chromium.errors
    assert all(url in request for request in chromium.requests if request.startswith("http"))
    run.send_to_all(signal.SIGINT)
    assert run.end() == 0
    assert "Traceback" not in run.stderr
