"""Evaluations on the terminal: every score beside its baseline."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bert_lightning.evaluation.evaluation import Evaluation, MaskedResult, PairResult
from bert_lightning.evaluation.minimal_pairs import Accuracy, MinimalPairsResult
from bert_lightning.runs.diagnosis import Check
from bert_lightning.runs.record import RunRecord
from bert_lightning.terminal import figures

_SHOWN_OF_A_HASH = 16


def show_evaluation(found: Evaluation) -> None:
    """Prints the model, the evaluation set and the scores."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for name, text in _facts(found):
        console.print(f"{name:<11} {text}")
    tables = [_masked_tokens(found.mlm), _whole_text(found.mlm)]
    if found.nsp is not None:
        tables.append(_pairs(found.nsp, found.pairs["task"]))
    for table in tables:
        console.print()
        console.print(table)


def _facts(found: Evaluation) -> Iterator[tuple[str, str]]:
    step = "" if found.step is None else f", step {found.step:,}"
    yield "model", f"{found.model}{step}; {found.parameters:,} parameters"
    instead = " INSTEAD of the requested corpus: see the warning above"
    yield "corpus", f"{found.corpus} ({found.corpus_origin}){instead * bool(found.fallback_reason)}"
    yield (
        "held out",
        f"{found.mlm.all.masked:,} masked of {found.tokens:,} tokens, {found.examples:,} examples "
        f"of the {found.split} split",
    )
    yield (
        "sha256",
        f"{found.evaluation_set_sha256[:_SHOWN_OF_A_HASH]}…: equal for equal evaluation sets",
    )


def _masked_tokens(found: MaskedResult) -> Table:
    labels = {
        "common": f"common: {found.common_from:,} or more",
        "middle": f"middle: {found.middle_from:,} or more",
        "rare": "rare: fewer in training",
        "unknown": "unknown: [UNK]",
    }
    rows = {"all": found.all, **{labels[name]: scores for name, scores in found.classes.items()}}
    return figures(
        ["masked tokens", "fraction", "nats", "baseline", "top 1", "baseline", "top 5", "baseline"],
        [
            [
                label,
                f"{row.fraction:.1%}",
                *(f"{value:.3f}" for value in (row.loss, row.loss_baseline)),
                *(f"{value:.1%}" for value in (row.accuracy, row.accuracy_baseline)),
                *(f"{value:.1%}" for value in (row.accuracy_at_5, row.accuracy_at_5_baseline)),
            ]
            for label, row in rows.items()
        ],
    )


def _whole_text(found: MaskedResult) -> Table:
    rows = [["perplexity", f"{found.perplexity:,.1f}", f"{found.perplexity_baseline:,.1f}", ""]]
    if found.bits_per_character is not None:
        unknown = found.classes["unknown"].fraction if "unknown" in found.classes else 0.0
        note = f"{unknown:.1%} [UNK], {found.piece_fraction:.1%} within a word"
        bits = (found.bits_per_character, found.bits_per_character_baseline)
        rows.append(["bits per character", *(f"{value:.3f}" for value in bits), note])
    return figures(["whole text", "", "baseline", ""], rows)


def _pairs(found: PairResult, task: str) -> Table:
    row = [
        *(f"{task} of {found.pairs:,}", f"{found.loss:.3f}", f"{found.loss_baseline:.3f}"),
        *(f"{found.accuracy:.1%}", f"{found.accuracy_baseline:.1%}"),
        f"{found.length_only_accuracy:.1%}",
    ]
    return figures(["pairs", "nats", "baseline", "accuracy", "baseline", "length-only"], [row])


def show_minimal_pairs(found: MinimalPairsResult) -> None:
    """Prints the accuracy on all pairs and on each group."""
    console = Console(highlight=False, markup=False)
    console.print(_accuracies("minimal pairs", {"all (chance is 50%)": found.all}))
    for name, members in found.groups.items():
        console.print()
        console.print(_accuracies(name, members))
    if found.all.same:
        console.print(
            f"\nPairs of the same tokens twice, which count as half right: {found.all.same:,}."
        )


def _accuracies(name: str, members: Mapping[str, Accuracy]) -> Table:
    return figures(
        [name, "accuracy", "±", "pairs", "with [UNK]"],
        [
            [
                label,
                *(f"{one.accuracy:.1%}", f"{one.standard_error:.1%}"),
                *(f"{one.pairs:,}", f"{one.unknown / one.pairs:.1%}"),
            ]
            for label, one in members.items()
        ],
    )


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
