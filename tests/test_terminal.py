"""The project's tables on a terminal, in a file and in a notebook."""

import pytest
import rich.console

from bert_lightning.terminal import WIDTH, figures, printed

ROWS = [("first", "1.25"), ("a run with a longer name", "10.5")]


@pytest.mark.parametrize("in_notebook", [False, True])
def test_a_table_is_plain_text_everywhere(
    monkeypatch: pytest.MonkeyPatch, in_notebook: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: in_notebook)
    assert printed(figures(("run", "loss"), ROWS)).splitlines() == [
        "run                       loss",
        "first                     1.25",
        "a run with a longer name  10.5",
    ]
    assert max(map(len, printed(figures(("run", "x" * 100), ROWS)).splitlines())) <= WIDTH
