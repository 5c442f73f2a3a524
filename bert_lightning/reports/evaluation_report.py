"""Evaluations on the terminal: every score beside its baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bert_lightning.evaluation.evaluation import Evaluation, MaskedResult
from bert_lightning.evaluation.minimal_pairs import Accuracy, MinimalPairsResult
from bert_lightning.runs.checks.check import Check
from bert_lightning.runs.record import RunRecord
from bert_lightning.terminal import figures

_PHENOMENA = 110
"""Columns that hold the longest name of BLiMP's phenomena beside its figures."""


def show_evaluation(found: Evaluation) -> None:
    """Prints the model, the evaluation set and the scores."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    step = "" if found.step is None else f", step {found.step:,}"
    corpus = f"{found.corpus} ({found.corpus_origin})"
    if found.fallback_reason:
        corpus += " INSTEAD of the requested corpus: see the warning above"
    console.print(
        f"model       {found.model}{step}; {found.parameters:,} parameters\n"
        f"corpus      {corpus}\n"
        f"held out    {found.mlm.all.masked:,} masked of {found.tokens:,} tokens, "
        f"{found.examples:,} examples of the {found.split} split\n"
        f"sha256      {found.evaluation_set_sha256[:16]}…: equal for equal evaluation sets"
    )
    tables = [_masked_tokens(found.mlm), _whole_text(found.mlm)]
    if (nsp := found.nsp) is not None:
        header = ["pairs", "nats", "baseline", "accuracy", "baseline", "length-only"]
        row = [f"{found.pairs['task']} of {nsp.pairs:,}"]
        row += [f"{loss:.3f}" for loss in (nsp.loss, nsp.loss_baseline)]
        scores = (nsp.accuracy, nsp.accuracy_baseline, nsp.length_only_accuracy)
        tables.append(figures(header, [[*row, *(f"{score:.1%}" for score in scores)]]))
    for table in tables:
        console.print("", table)


def _masked_tokens(found: MaskedResult) -> Table:
    labels = {
        "common": f"common: {found.common_from:,} or more",
        "middle": f"middle: {found.middle_from:,} or more",
        "rare": "rare: fewer in training",
        "unknown": "unknown: [UNK]",
    }
    rows = {"all": found.all, **{labels[name]: scores for name, scores in found.classes.items()}}
    if "unknown" in found.classes and found.known is not None:
        rows["all but [UNK]"] = found.known
    shown = []
    for label, row in rows.items():
        _, fraction, loss, loss_baseline, *accuracies = astuple(row)
        losses = [f"{value:.3f}" for value in (loss, loss_baseline)]
        shown.append([label, f"{fraction:.1%}", *losses, *(f"{one:.1%}" for one in accuracies)])
    header = ["masked tokens", "fraction", "nats", "baseline", "top 1", "baseline", "top 5"]
    return figures([*header, "baseline"], shown)


def _whole_text(found: MaskedResult) -> Table:
    rows = [["perplexity", f"{found.perplexity:,.1f}", f"{found.perplexity_baseline:,.1f}", ""]]
    if found.bits_per_character is not None:
        unknown = found.classes["unknown"].fraction if "unknown" in found.classes else 0.0
        note = f"{unknown:.1%} [UNK], {found.piece_fraction:.1%} within a word"
        bits = (found.bits_per_character, found.bits_per_character_baseline)
        rows.append(["bits per character", *(f"{value:.3f}" for value in bits), note])
    return figures(["whole text", "", "baseline", ""], rows)


def show_minimal_pairs(found: MinimalPairsResult) -> None:
    """Prints the accuracy on all pairs and on each group."""
    console = Console(highlight=False, markup=False, width=_PHENOMENA)
    console.print(_accuracies("minimal pairs", {"all": found.all}, found.chance))
    for name, members in found.groups.items():
        console.print("", _accuracies(name, members, found.chance))
    if found.all.same:
        same = "Pairs of the same tokens twice, which count as half right"
        console.print(f"\n{same}: {found.all.same:,}.")


def _accuracies(name: str, members: Mapping[str, Accuracy], chance: float) -> Table:
    rows = [
        [
            label,
            *(f"{one.accuracy:.1%}", f"{one.standard_error:.1%}"),
            *(f"{one.pairs:,}", f"{one.unknown / one.pairs:.1%}"),
            "" if one.known_accuracy is None else f"{one.known_accuracy:.1%}",
        ]
        for label, one in members.items()
    ]
    header = [name, "accuracy", "±", "pairs", "with [UNK]", "without [UNK]"]
    return figures(header, [*rows, ["chance", f"{chance:.1%}", "", "", "", f"{chance:.1%}"]])


def show_diagnosis(record: RunRecord, checks: Sequence[Check]) -> None:
    """Prints what was checked, and for each finding what to try."""
    console = Console(highlight=False, markup=False)
    console.print(f"{record.folder}\n", soft_wrap=True)
    found = [check for check in checks if check.finding is not None]
    checked = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        mark = Text("ok", "green") if check.finding is None else Text("FOUND", "bold red")
        checked.add_row(mark, check.name, check.measured)
    console.print(checked)
    if not found:
        console.print("\nNothing found.")
    for check in found:
        console.print(Text(f"\n{check.name}: {check.finding}", "bold"))
        details = Table.grid(padding=(0, 2, 0, 0))
        details.add_row("  measured", check.measured)
        details.add_row("  limit", check.limit)
        for one in check.tries:
            details.add_row("  try", one)
        console.print(details)
