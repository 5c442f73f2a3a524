"""How good a model or a run is: scores beside baselines, minimal pairs, and a diagnosis."""

import json
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from glob import glob
from pathlib import Path

from bert_lightning.evaluation.evaluation import evaluate
from bert_lightning.evaluation.minimal_pairs import judge, pair_files, read_pairs, summarize
from bert_lightning.evaluation.sense_files import read_occurrences
from bert_lightning.evaluation.senses import (
    SensesResult,
    Similarities,
    compare,
    score_senses,
    word_vectors,
)
from bert_lightning.evaluation.subject import corpus_of, evaluation_options
from bert_lightning.inference.loaded import load
from bert_lightning.pretrained.sources import open_source
from bert_lightning.reports import evaluation_report as reports
from bert_lightning.reports import sense_report
from bert_lightning.reports.comparison.found import find_runs
from bert_lightning.reports.comparison.metric import check_name
from bert_lightning.reports.comparison.ranking import compare as compare_runs
from bert_lightning.reports.comparison.table import as_json, lines
from bert_lightning.runs.diagnosis import diagnose
from bert_lightning.runs.record import read_run
from bert_lightning.work import working


def score(args: Namespace) -> None:
    """Scores a model on held-out text, each score beside its baseline."""
    source = open_source(args.run)
    data, batch = evaluation_options(source, args.config, args.overrides)
    with working("evaluating"):
        found = evaluate(source, corpus_of(source, data, batch), batch, args.split)
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        reports.show_evaluation(found)


def minimal_pairs(args: Namespace) -> None:
    """Measures how often a model finds the grammatical sentence of a pair more probable."""
    files = [file for path in _matching(args.files) for file in pair_files(path)]
    pairs = [pair for file in files for pair in read_pairs(file)]
    found = summarize(args.run, pairs, judge(load(args.run), pairs, truncate=args.truncate))
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        reports.show_minimal_pairs(found)


def senses(args: Namespace) -> None:
    """Scores the senses of a word layer by layer; of sentences alone, shows the similarities."""
    training = read_occurrences(args.sentences)
    held_out = None if args.test is None else read_occurrences(args.test)
    if args.projector is not None:
        with working("reading the sentences"):
            sentences = [*training, *(held_out or [])]
            vectors = word_vectors(load(args.run), args.word, sentences)
            sense_report.write_projector(args.projector, sentences, vectors)
        print(f"saved {args.projector}; to see it: tensorboard --logdir {args.projector}")
        return
    plain = held_out is None and training[0].sense is None
    with working("reading the sentences"):
        bert = load(args.run)
        found: SensesResult | Similarities = (
            compare(bert, args.word, training)
            if plain
            else score_senses(bert, args.word, training, held_out, str(args.test))
        )
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    elif isinstance(found, Similarities):
        sense_report.show_similarities(found)
    else:
        sense_report.show_senses(found)


def doctor(args: Namespace) -> None:
    """Diagnoses a run: what may be wrong, the evidence in its numbers, and what to try."""
    record = read_run(Path(args.run))
    checks = diagnose(record)
    if args.json:
        found = {"run": str(record.folder), "checks": [asdict(check) for check in checks]}
        print(json.dumps(found, indent=2))
    else:
        reports.show_diagnosis(record, checks)


def comparison(args: Namespace) -> None:
    """Ranks runs, and says which cannot be ranked; draws their curves where asked."""
    if args.metric is not None:
        check_name(args.metric, tests=True)
    runs = find_runs(_matching(args.runs))
    found = compare_runs(runs, args.metric)
    if args.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print("\n".join(lines(found)).lstrip())
    if args.plot is not None:
        from bert_lightning.reports.comparison.curves import comparison_figure  # with matplotlib

        comparison_figure(found).save(args.plot)


def _matching(files: Iterable[Path]) -> Iterator[Path]:
    """Yields the files that patterns name, as Windows' shells pass `*.jsonl` on unchanged."""
    for file in files:
        found = [] if file.exists() else sorted(map(Path, glob(str(file))))  # noqa: PTH207
        yield from found or [file]
