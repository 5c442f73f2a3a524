"""The LightningDataModule: hands each device its batches of a prepared corpus."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import lightning as L  # noqa: N812
from torch.utils.data import DataLoader, Dataset, Sampler

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.corpus.tokenizer import rows_needed
from bert_lightning.data.baselines import count_tokens
from bert_lightning.data.batches import (
    LABELERS,
    EvaluationBatches,
    Labeler,
    StepPartition,
    TrainingBatches,
)
from bert_lightning.data.phases import heaviest
from bert_lightning.evaluation.token_stats import Vocabulary, describe


class PretrainingData(L.LightningDataModule):
    """The batches of a corpus, with the labels of all objectives.

    Args:
        corpus: the prepared corpus.
        config: the options that batches are made with.
        seed: decides order, pairs and masks of training batches.
        share: how the global batch is divided; the rank is taken from the trainer.
        steps: optimizer steps of the whole run.
        labelers: the labels of sequences, by objective.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        config: BatchConfig,
        seed: int,
        share: StepPartition,
        steps: int,
        labelers: Mapping[str, Labeler] = LABELERS,
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.share = share
        self.steps = steps
        self.labelers = labelers

    def train_dataloader(self) -> DataLoader[PretrainBatch]:
        assert self.trainer is not None
        share = replace(self.share, rank=self.trainer.global_rank)
        batches = TrainingBatches(
            self.corpus, self.config, self.seed, share, self.steps, self.labelers
        )
        done = self.trainer.global_step * share.accumulation
        return self._loader(batches, ResumableSampler(done, len(batches)))

    def val_dataloader(self) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        return self._held_out("validation")

    def test_dataloader(self) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        return self._held_out("test")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the training split says of each word; only held-out scores need it."""
        words = self.corpus.tokenizer
        return describe(words, count_tokens(self.corpus.splits["train"], rows_needed(words)))

    def _held_out(self, split: str) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        assert self.trainer is not None
        if split not in self.corpus.splits:
            return []
        most = heaviest(self.config)  # no more tokens at a time than training has there
        tokens = self.share.micro_batch_size(most.global_batch_size) * most.max_length
        return self._loader(
            EvaluationBatches(
                self.corpus,
                split,
                self.config,
                max(1, tokens // self.config.max_length),
                self.trainer.global_rank,
                self.trainer.world_size,
                self.labelers,
            )
        )

    def _loader(
        self, batches: Dataset[PretrainBatch], sampler: "ResumableSampler | None" = None
    ) -> DataLoader[PretrainBatch]:
        workers = self.config.num_workers
        return DataLoader(
            batches,
            sampler=sampler,
            batch_size=None,  # an item is a batch already
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None
            and self.trainer.strategy.root_device.type == "cuda",
        )


class ResumableSampler(Sampler[int]):
    """The indices that are left of a run: nothing before them is made again.

    Its length is that of the whole run, as Lightning adds to it what it knows to be done.
    """

    def __init__(self, done: int, total: int) -> None:
        self.done = done
        self.total = total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.done, self.total))

    def __len__(self) -> int:
        return self.total


def _as_it_is(batch: Any) -> Any:
    return batch
