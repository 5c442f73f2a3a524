"""Initial weights that know the statistics of the training text."""

import logging
import time

import torch

from bert_lightning.config import TrainConfig
from bert_lightning.corpus.shards.split import sample_of
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.baselines import unigram_nll
from bert_lightning.data.randomness import Stream, torch_seed
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.pretrained.cooccurrence import (
    cooccurrence_vectors,
    mutual_information,
    neighbors,
)
from bert_lightning.work import working

_log = logging.getLogger(__name__)
_SCALE = 2.0
"""The standard deviation of the word vectors, in those of other weights."""


@torch.no_grad()
def start_from_statistics(
    model: BertForPreTraining, corpus: PreparedCorpus, config: TrainConfig
) -> float:
    """Initializes what the options say from the training text; returns the seconds that it took.

    The bias of the MLM head becomes the log frequency of each word, and the vector of a word that
    has neighbors follows from them. The time counts as training time.
    """
    since = time.perf_counter()
    if config.objective.unigram_bias_init:
        bias = model.mlm_head.decoder.bias
        token_counts = corpus.splits["train"].counts_of_rows(len(bias))
        bias.copy_(torch.from_numpy(-unigram_nll(token_counts)))
    if not config.model.cooccurrence_init:
        return 0.0
    with working("finding which words stand near each other"):
        table = model.encoder.embeddings.word.weight
        split = sample_of(corpus.splits["train"])
        found = neighbors(split.token_ids, split.sentence_starts, len(table))
        seed = torch_seed(config.drawn_seed, Stream.word_vectors)
        information = mutual_information(found, len(table))
        words, vectors = cooccurrence_vectors(information, table.shape[1], seed)
        table[words] = (vectors * (_SCALE * config.model.initializer_range)).to(table.dtype)
    taken = time.perf_counter() - since
    _log.info(
        "word vectors from %s pairs of neighbors: %s of %s words, in %.1f s of training time",
        *(f"{len(found.word):,}", f"{len(words):,}", f"{len(table):,}", taken),
    )
    return taken
