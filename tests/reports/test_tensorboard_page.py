"""TensorBoard itself, in a real browser: what its HParams tab shows of the runs of a sweep."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from browser import Chromium
from tensorboard import program

from bert_lightning.config import OptimConfig, TrainConfig
from bert_lightning.reports.comparison.hparams import write_hparams


def batched(cells: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    yield from (cells[start : start + width] for start in range(0, len(cells), width))


@pytest.mark.slow
def test_the_hparams_tab_shows_each_run_with_its_options_and_scores(
    chromium: Chromium, tmp_path: Path
) -> None:
    expected = set()
    for lr in (0.003, 0.005):
        for seed in (0, 1):
            folder = tmp_path / f"optim.lr={lr:g},seed={seed}"
            folder.mkdir()
            config = TrainConfig(optim=OptimConfig(lr=lr), seed=seed, run_dir=str(folder))
            loss = 4 + 100 * lr + seed
            scores = {"loss": loss, "mlm_loss": loss - 1}
            write_hparams(config, {"steps": 6, "loaded": {"step": 3, "validation": scores}})
            expected.add(tuple(f"{value:#.5g}" for value in (lr, seed, loss, loss - 1)))
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    tensorboard = program.TensorBoard()
    tensorboard.configure(logdir=str(tmp_path), port=0, load_fast="false")
    page = chromium.page
    page.goto(f"{tensorboard.launch()}#hparams")
    page.get_by_text(f"{loss:.4f}", exact=True).filter(visible=True).wait_for()
    cells = page.locator("vaadin-grid-cell-content").filter(visible=True).all_inner_texts()
    names = cells[: cells.index("hparam/val_mlm_loss") + 1]
    assert names[2:4] == ["optim.lr", "seed"]  # those that differ stand first
    shown = ("optim.lr", "seed", "hparam/val_loss", "hparam/val_mlm_loss")
    places = [names.index(name) for name in shown]
    rows = batched(cells[len(names) :], len(names))
    assert {tuple(row[place] for place in places) for row in rows} == expected
    assert not chromium.outside
