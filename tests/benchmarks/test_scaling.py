"""The scaling picture: what is missing runs in order, and what there is is drawn."""

import json
from pathlib import Path

import pytest

from benchmarks import scaling
from bert_lightning.errors import UserError

LOSSES = {("tiny", 8): 4.1, ("mini", 8): 4.2, ("tiny", 32): 4.0, ("mini", 32): 3.8}
"""In the order in which they are run."""


def test_a_killed_command_resumes_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, int]] = []

    def measure(recipe: str, options: list[str], seed: int, folder: Path) -> None:
        if len(ran) == killed_at:
            raise KeyboardInterrupt
        text, size, budget = (option.partition("=")[2] for option in options)
        assert (recipe, text, seed) == ("tiny_8min", "wikitext-2", 1)
        ran.append((size, int(budget.removesuffix("s")) // 60))
        folder.mkdir(parents=True)
        found = {"validation": {"mlm": {"all": {"loss": LOSSES[ran[-1]]}}}}
        (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")

    monkeypatch.setattr(scaling, "measure", measure)
    kept, picture = tmp_path / "kept", tmp_path / "scaling.png"
    command = ["wikitext-2", "--sizes", "tiny", "mini", "--minutes", "8", "32", "--seed", "1"]
    command += ["--kept", str(kept), "--picture", str(picture)]
    with pytest.raises(UserError, match="kept has no results yet: omit --draw"):
        scaling.losses(kept)
    killed_at = 3
    with pytest.raises(KeyboardInterrupt):
        scaling.main(command)
    assert picture.stat().st_size
    assert list(scaling.shown(scaling.losses(kept)))[1:] == [
        "32 minutes: tiny, 4.000 nats; no result of mini"
    ]
    killed_at = 4
    scaling.main(command)
    assert ran == list(LOSSES)
    scaling.main([*command, "--draw"])
    shown = capsys.readouterr().out.splitlines()
    assert "mini, 1920 s; 1 runs of 32 minutes are left" in shown
    assert shown[-3:-1] == ["8 minutes: tiny, 4.100 nats", "32 minutes: mini, 3.800 nats"]
    assert len(ran) == 4


def test_the_order_of_the_runs_and_of_the_lines() -> None:
    assert sorted(scaling.MINUTES) == [2, 4, 8, 16, 32]
    axes = scaling.scaling_figure({"tiny": {480: 4.1, 1920: 4.0}, "mini": {1920: 3.8}}).axes[0]
    assert [line.get_label() for line in axes.lines] == ["tiny", "mini"]
    (best,) = axes.collections
    assert best.get_offsets().tolist() == [[32, 3.8]]  # no result of mini at 8
