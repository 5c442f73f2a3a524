"""What a preparation makes, after it, and what it will take, before it."""

import time

from rich.console import Console

from bert_lightning.config import TrainConfig
from bert_lightning.corpus.catalog import list_corpora, store_folder
from bert_lightning.corpus.preparation.forecast import Forecast
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.splits import SPLITS
from bert_lightning.pretrained.initial_weights import open_initial
from bert_lightning.terminal import figures
from bert_lightning.work import duration


def show_preparation(config: TrainConfig) -> None:
    """Prepares the corpus of a config, unless that was done before, and prints what is there."""
    begun, since = time.time(), time.monotonic()
    initial = open_initial(config)
    base = initial.tokenizer if initial else None
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs, base)
    taken = time.monotonic() - since
    folder = store_folder(config.data, corpus.name, corpus.key)
    (entry,) = (found for found in list_corpora(folder.parent) if found.folder == folder)
    console = Console(highlight=False, markup=False)
    console.print(f"{corpus.name}: {corpus.origin}", soft_wrap=True)
    splits = [(name, corpus.splits[name]) for name in SPLITS if name in corpus.splits]
    rows = [
        (name, *(f"{n:,}" for n in (split.documents, split.sentences, len(split.token_ids))))
        for name, split in splits
    ]
    console.print(figures(("", "documents", "sentences", "tokens"), rows))
    for omission in corpus.left_out:
        console.print(f"{omission.fate.lower()}: {omission}", soft_wrap=True)
    done = "prepared" if entry.built > begun else "was prepared before; opened"
    lines = [
        f"vocabulary  {corpus.tokenizer.get_vocab_size():,} tokens",
        f"{done} in {duration(taken)}",
        f"{entry.bytes / 1e6:,.1f} MB in {folder}",
        "bert-lightning train with the same options trains on it; "
        "bert-lightning corpora lists and removes what is prepared",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)


def forecast_sentence(found: Forecast) -> str:
    """Returns the sentence that says how long a preparation takes, and how much disk."""
    if found.store is not None:
        return f"The corpus is prepared already: {found.store}."
    assert found.sample is not None
    sample, workers = found.sample, found.workers
    with_workers = f" with {workers} workers" if workers > 1 else ""
    return (
        f"Preparing {found.megabytes:,.1f} MB of text takes about {duration(found.seconds)}"
        f"{with_workers}, at {sample.rate:.1f} MB/s a worker, as just measured on "
        f"{sample.megabytes:.1f} MB of it; the prepared corpus takes about "
        f"{found.store_megabytes:,.1f} MB of disk, and up to {found.most_megabytes:,.1f} MB are "
        "needed while it is made."
    )
