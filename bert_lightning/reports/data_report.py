"""The data of a config on the terminal: statistics, lengths, baselines and decoded examples."""

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from bert_lightning.batch import (
    CLS,
    IGNORE_INDEX,
    IS_NEXT,
    IS_RANDOM,
    MASK,
    SEP,
    UNK,
    PretrainBatch,
)
from bert_lightning.config import TrainConfig
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.tokenizer import Tokenizer, rows_needed
from bert_lightning.data.baselines import Baselines, LabelStatistics
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.phases import phase_options
from bert_lightning.data.shortcomings import shortcomings
from bert_lightning.data.statistics import (
    ExampleStatistics,
    SplitStatistics,
    statistics,
    training_sample,
)
from bert_lightning.pretrained.initial_weights import open_initial
from bert_lightning.terminal import figures
from bert_lightning.work import working

_ROWS = {
    "documents": "documents",
    "paragraphs": "paragraphs",
    "sentences": "sentences",
    "pairs": "sentence pairs",
    "tokens": "tokens",
    "types": "distinct tokens",
    "unknown_fraction": "unknown tokens",
    "unigram_entropy": "unigram entropy (nats)",
    "mean_length": "tokens a sentence: mean",
    "median_length": "                   median",
    "longest": "                   longest",
    "duplicate_fraction": "duplicate sentences",
    "in_training_fraction": "sentences also in training",
}
"""The labels of the fields of `SplitStatistics`."""
_MASKED, _REPLACED, _KEPT, _SECOND = "bold red", "bold magenta", "bold cyan", "blue"
_LABELS = {
    IS_NEXT: ("is next:", "bold green"),
    IS_RANDOM: ("random: ", "bold yellow"),  # in the sop task: swapped
    IGNORE_INDEX: ("block:  ", "bold"),
}


def show_data(config: TrainConfig, examples: int) -> None:
    """Prints the corpus of a config, its baselines, and its first `examples` training examples."""
    console = Console(highlight=False, markup=False)
    batch, validation = config.batch, None
    with working("reading"):
        source = open_initial(config)
        tokenizer = source.tokenizer if source else None
        corpus = prepare(config.data, config.tokenizer, batch.pairs, tokenizer)
        if "validation" in corpus.splits:
            validation = EvaluationSet(corpus, "validation", batch, rows_needed(corpus.tokenizer))
        found = statistics(corpus, batch, config.drawn_seed, validation)
    console.print(f"{corpus.name}: {corpus.origin}")
    console.print(f"{corpus.tokenizer.get_vocab_size():,} tokens in the vocabulary\n")
    order = [name for name in ("train", "validation", "test") if name in found.splits]
    _show_splits(console, {name: found.splits[name] for name in order})
    for omission in corpus.left_out:
        console.print(f"{omission.fate.lower()}: {omission}", soft_wrap=True)
    for shortcoming in shortcomings(corpus, found, batch):
        console.print(f"{shortcoming}.", style=_MASKED, soft_wrap=True)
    phases = phase_options(batch)
    described = found.phases or [found.examples]
    for number, (lengths, options) in enumerate(zip(described, phases, strict=True), 1):
        where = f" in phase {number}" if found.phases else ""
        _show_lengths(console, lengths, options.global_batch_size, where)
    if validation is not None:
        _show_baselines(console, validation.baselines, found.labels)
    first = training_sample(corpus, phases[0], config.drawn_seed)[0]
    _show_examples(console, first, corpus.tokenizer, examples)


def _show_splits(console: Console, splits: dict[str, SplitStatistics]) -> None:
    columns = [asdict(split) for split in splits.values()]
    rows = [[label, *(_shown(name, c[name]) for c in columns)] for name, label in _ROWS.items()]
    if any(split.sentences_read < split.sentences for split in splits.values()):
        rows.append(["fractions of … sentences", *(f"{c['sentences_read']:,}" for c in columns)])
    console.print(figures(["", *splits], rows))


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1%}" if name.endswith("_fraction") else f"{value:.2f}"


def _show_lengths(console: Console, found: ExampleStatistics, batch_size: int, where: str) -> None:
    console.print(f"\nTokens of {found.examples_read:,} training examples{where}", style="bold")
    for bar_index, count in enumerate(found.histogram):
        first = bar_index * found.bar_width + 1
        last = min(first + found.bar_width - 1, found.max_length)
        bar = "█" * round(40 * count / max(found.histogram)) or "▏" * (count > 0)
        console.print(f"{first:5} – {last:<4}{count / found.examples_read:6.1%} {bar}")
    console.print(
        f"mean {found.mean_length:.1f}; {found.full_fraction:.1%} have {found.max_length}; "
        f"{found.predicted_fraction:.1%} of the tokens are predicted"
    )
    console.print(
        f"padding saved: {found.saved_of_max_length:.1%} against {found.max_length} for all, "
        f"{found.saved_of_longest:.1%} against the longest of {batch_size}"
    )


def _show_baselines(console: Console, scores: Baselines, labels: LabelStatistics | None) -> None:
    rows = [("masked tokens: unigram", f"{scores.mlm_loss:.3f}", f"{scores.mlm_accuracy:.3f}")]
    if scores.mlm_accuracy_known not in (None, scores.mlm_accuracy):
        rows.append(("masked tokens but [UNK]", "", f"{scores.mlm_accuracy_known:.3f}"))
    if scores.nsp_loss is not None:
        majority = (f"{scores.nsp_loss:.3f}", f"{scores.nsp_accuracy:.3f}")
        rows.append(("pair labels: majority", *majority))
    if labels:
        rows.append(("pair labels: length-only", "", f"{labels.length_only_accuracy:.3f}"))
    console.print()
    console.print(figures(["Baselines on validation", "loss (nats)", "accuracy"], rows))
    if labels and labels.leak:
        console.print("The pair labels LEAK: the two lengths alone predict them.", style=_MASKED)


def _show_examples(
    console: Console, batch: PretrainBatch, tokenizer: Tokenizer, count: int
) -> None:
    if count < 1:
        return
    console.print(
        "\nExamples as the model sees them (in brackets: what it has to predict)", style="bold"
    )
    legend = [("[MASK](original)", _MASKED), ("replaced(original)", _REPLACED)]
    legend += [("kept(kept)", _KEPT), ("second half", _SECOND)]
    console.print(*(Text(text, style) for text, style in legend))
    ids, segments = batch.sequences.token_ids.tolist(), batch.sequences.token_type_ids.tolist()
    wanted = dict(zip(batch.masked_positions.tolist(), batch.masked_labels.tolist(), strict=True))
    bounds = batch.sequences.cu_seqlens.tolist()
    labels = batch.nsp_labels.tolist()
    for start, end, label in list(zip(bounds, bounds[1:], labels, strict=False))[:count]:
        line = Text("\n")
        line.append(*_LABELS[label])
        for place in range(start, end):
            token = tokenizer.id_to_token(ids[place]) or UNK
            style = "dim" if token in {CLS, SEP} else _SECOND if segments[place] else ""
            if place in wanted:
                hidden = _KEPT if wanted[place] == ids[place] else _REPLACED
                style = _MASKED if token == MASK else hidden
                token += f"({tokenizer.id_to_token(wanted[place]) or UNK})"
            line.append(" ").append(token, style)
        console.print(line)
