"""The probes of a run's checkpoints in its folder: a result file, and curves in TensorBoard."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bert_lightning.evaluation.probing import probe_scores
from bert_lightning.files import write_text
from bert_lightning.finetuning.probing.models import Probed


def write_probes(folder: Path, probed: Sequence[Probed]) -> tuple[Path, str]:
    """Writes both, in place of those of earlier probes of the same task and data.

    TensorBoard reads all event files of a folder as one run, so it shows the curves beside the
    run's own.

    Args:
        folder: the run's.
        probed: its checkpoints, from the first step to the last.

    Returns:
        The result file, and what the names of the curves begin with.
    """
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    data = re.sub(r"[^\w.-]+", "-", Path(probed[0].data).name)
    name = f"{probed[0].task}-{data}"
    file = folder / "probes" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    results = json.dumps([asdict(one) for one in probed], indent=2, ensure_ascii=False)
    write_text(file, results + "\n")
    for earlier in folder.glob(f"events.out.tfevents.*.{name}"):
        earlier.unlink()
    with SummaryWriter(folder, filename_suffix=f".{name}") as writer:
        for one in probed:
            for score, value in probe_scores(one.probes).items():
                tag = f"checkpoints/{name}/{score.removeprefix('probe/')}"
                writer.add_scalar(tag, value, one.step)
    return file, f"checkpoints/{name}"
