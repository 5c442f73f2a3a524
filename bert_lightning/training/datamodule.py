"""The LightningDataModule: gives each rank its batches of a prepared corpus."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import lightning as L  # noqa: N812
from torch.utils.data import DataLoader, Dataset, Sampler

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import LABELERS, Labeler, StepPartition, TrainingBatches
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.phases import heaviest
from bert_lightning.evaluation.token_stats import TokenStats, token_stats


class PretrainingData(L.LightningDataModule):
    """The training and held-out batches of a corpus.

    Args:
        corpus: the prepared corpus.
        config: the options of the batches.
        seed: decides the order, pairs and masks of training batches.
        partition: how the global batch is divided; the rank is taken from the trainer.
        steps: optimizer steps of the whole run.
        evaluation_sets: those of the held-out splits, by the names of the splits.
        labelers: the labels of sequences, by objective.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        config: BatchConfig,
        seed: int,
        partition: StepPartition,
        steps: int,
        evaluation_sets: Mapping[str, EvaluationSet],
        labelers: Mapping[str, Labeler] = LABELERS,
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.partition = partition
        self.steps = steps
        self.evaluation_sets = evaluation_sets
        self.labelers = labelers

    def train_dataloader(self) -> DataLoader[PretrainBatch]:
        assert self.trainer is not None
        partition = replace(self.partition, rank=self.trainer.global_rank)
        batches = TrainingBatches(
            self.corpus, self.config, self.seed, partition, self.steps, self.labelers
        )
        done = self.trainer.global_step * partition.accumulation
        return self._loader(batches, ResumableSampler(done, len(batches)))

    def val_dataloader(self) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        return self._held_out("validation")

    def test_dataloader(self) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        return self._held_out("test")

    @cached_property
    def token_stats(self) -> TokenStats:
        """The statistics of each token, for held-out scores."""
        return token_stats(self.corpus.tokenizer, self.corpus.splits["train"].token_counts)

    def _held_out(self, split: str) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        assert self.trainer is not None
        if split not in self.evaluation_sets:
            return []
        phase = heaviest(self.config)  # no more tokens at a time than training has in this phase
        tokens = self.partition.micro_batch_size(phase.global_batch_size) * phase.max_length
        return self._loader(
            self.evaluation_sets[split].batches(
                max(1, tokens // self.config.max_length),
                self.trainer.global_rank,
                self.trainer.world_size,
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
            collate_fn=_unchanged,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None
            and self.trainer.strategy.root_device.type == "cuda",
        )


class ResumableSampler(Sampler[int]):
    """The remaining indices of a run; no batch before them is built again.

    Its length is that of the whole run, since Lightning counts from the batches that are done.
    """

    def __init__(self, done: int, total: int) -> None:
        self.done = done
        self.total = total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.done, self.total))

    def __len__(self) -> int:
        return self.total


def _unchanged(batch: Any) -> Any:
    return batch
