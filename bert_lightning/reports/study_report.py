"""The results of a study of fine-tuning: `results.json`, the learning curve, and a table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bert_lightning.files import atomic, write_text
from bert_lightning.finetuning.scoring.records import Record
from bert_lightning.finetuning.scoring.results import RANDOM_WEIGHTS, THIS_MODEL, results
from bert_lightning.finetuning.study import StudyRun
from bert_lightning.runs.folder import shown
from bert_lightning.terminal import figures, printed

RESULTS, CURVE = "results.json", "results.png"


def report(folder: Path, records: Mapping[StudyRun, Record]) -> str:
    """Writes the results of a study into its folder; returns the lines to print."""
    found = results(records)
    if "learning_curve" in found:
        from bert_lightning.reports.plot import learning_curve_figure  # with matplotlib, slow

        with atomic(folder / CURVE) as temporary:
            learning_curve_figure(found).savefig(temporary, format="png", dpi=130)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    write_text(folder / RESULTS, text)
    return "\n".join(_lines(folder, found))


def _lines(folder: Path, found: Mapping[str, Any]) -> Iterator[str]:
    seeds, score = found["seeds"], found["score"]
    several = len(seeds) > 1
    yield ""
    yield (
        f"test split: {_in_words(score)} on {found['examples']['test']:,} examples, "
        f"{f'{len(seeds)} seeds' if several else f'seed {seeds[0]}'}"
    )
    yield printed(_table(found["rows"], score, several))
    if "learning_curve" in found:
        yield ""
        yield printed(_curve(found, score, several))
    yield ""
    for row in found["rows"]:
        if row["degenerate"] and row["model"] in (THIS_MODEL, RANDOM_WEIGHTS):
            yield (
                f"degenerate: {row['model']}, {row['degenerate']} of {len(row['seeds'])} runs "
                "predict the same for every example"
            )
    over = "seeds and test examples" if several else "test examples; seeds=5 adds other seeds"
    yield f"gain: this model minus that row; its interval is over {over}"
    yield f"results {shown(folder / RESULTS)}"
    if "learning_curve" in found:
        yield f"learning curve {shown(folder / CURVE)}"


def _table(rows: Sequence[Mapping[str, Any]], score: str, several: bool) -> Table:
    """Returns a row for each model: its score, and what this model gains over it."""
    header = ["", "mean ± sd" if several else _in_words(score)]
    header += ["worst"] * several + ["gain", "95 % interval"]
    cells = []
    for row in rows:
        found, gain = row["scores"][score], row.get("gain")
        cells.append([row["model"], _spread(found, several)])
        cells[-1] += [f"{found['worst']:.3f}"] * several
        if gain is not None:
            cells[-1] += [f"{gain['mean']:+.3f}", f"{gain['low']:+.3f} to {gain['high']:+.3f}"]
    return figures(header, cells)


def _curve(found: Mapping[str, Any], score: str, several: bool) -> Table:
    """Returns a row for each number of training examples, a column for each model."""
    header = ["trained on", *(row["model"] for row in found["rows"])]
    return figures(
        header,
        [
            [f"{size['examples']:,}"]
            + [_spread(row["scores"][score], several) for row in size["rows"]]
            for size in found["learning_curve"]
        ],
    )


def _spread(found: Mapping[str, float], several: bool) -> str:
    return f"{found['mean']:.3f}" + (f" ± {found['deviation']:.3f}" if several else "")


def _in_words(score: str) -> str:
    return score.replace("_", " ")
