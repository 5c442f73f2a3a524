"""A new position embedding is three files and a third objective four: proven by adding both."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

POSITION_EMBEDDING = {
    "bert_lightning/config/model.py": (
        '    rotary = "rotary"\n',
        '    sinusoidal = "sinusoidal"\n    """Fixed sines."""\n    rotary = "rotary"\n',
    ),
    "bert_lightning/model/positions.py": (
        "POSITIONS: dict[PositionEmbedding, type[Positions]] = {\n",
        '''class SinusoidalPositions(Positions):
    """Sines and cosines, added to the token's vector (Vaswani et al., 2017, section 3.5)."""

    def add(self, x: Tensor, sequences: Sequences) -> Tensor:
        table = sinusoids(self.config.max_position_embeddings, x.shape[1])
        return x + table.to(x.device, x.dtype)[sequences.position_ids]


POSITIONS: dict[PositionEmbedding, type[Positions]] = {
    PositionEmbedding.sinusoidal: SinusoidalPositions,
''',
    ),
    "conf/arch/vaswani.yaml": ("", "# @package model\nposition_embedding: sinusoidal\n"),
}
"""The files, and in each a text with what replaces it; `""` is a new file."""

THIRD_OBJECTIVE = {
    "bert_lightning/config/optim.py": (
        "    nsp_weight: float = option(1.0, LEARNING, at_least=0)\n",
        "    nsp_weight: float = option(1.0, LEARNING, at_least=0)\n"
        "    length_weight: float = option(0.1, LEARNING)\n",
    ),
    "bert_lightning/model/objective.py": (
        "OBJECTIVES: dict[str, Callable[[ModelConfig, nn.Embedding], nn.Module]] = {\n",
        '''class LengthPrediction(nn.Linear):
    """Tells from `[CLS]` in which of four buckets the length of a sequence is."""

    def __init__(self, config: ModelConfig, words: nn.Embedding) -> None:
        super().__init__(config.hidden_size, 4)

    def sums(self, encoded: Encoded, batch: PretrainBatch) -> Sums:
        return classification_sums(self(encoded.pooled), batch.labels["length"])


OBJECTIVES: dict[str, Callable[[ModelConfig, nn.Embedding], nn.Module]] = {
    "length": LengthPrediction,
''',
    ),
    "bert_lightning/data/batches.py": (
        'LABELERS: dict[str, Labeler] = {"nsp": _pair_labels}\n',
        """def _length_labels(pairs: Pairs, _: np.ndarray) -> np.ndarray:
    return np.minimum(pairs.lengths // 8, 3)


LABELERS: dict[str, Labeler] = {"nsp": _pair_labels, "length": _length_labels}
""",
    ),
    "conf/experiment/lengths.yaml": (
        "",
        "# @package _global_\ndefaults:\n  - override /arch: vaswani\nobjective:\n"
        "  length_weight: 0.5\n",
    ),
}


@pytest.mark.slow
def test_both_train_with_these_files_alone(
    tmp_path: Path, small_run: Callable[..., list[str]]
) -> None:
    assert (len(POSITION_EMBEDDING), len(THIRD_OBJECTIVE)) == (3, 4)
    for name in ("bert_lightning", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "train.py", tmp_path)
    for name, (before, after) in (POSITION_EMBEDDING | THIRD_OBJECTIVE).items():
        path = tmp_path / name
        text = path.read_text(encoding="utf-8") if before else ""
        assert text.count(before) == 1 or not before, f"{name} has changed: adapt this test"
        path.write_text(text.replace(before, after) if before else after, encoding="utf-8")
    overrides = small_run("experiment=lengths", "logger=csv", "hydra.run.dir=run")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    done = subprocess.run(
        [sys.executable, "train.py", *overrides],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *paths])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "LENGTH loss" in done.stdout
    (curves,) = tmp_path.glob("run/**/metrics.csv")
    with curves.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {"train/length_loss", "val/length_loss", "val/length_accuracy"} <= set(rows[0])
