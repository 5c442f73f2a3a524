"""The LightningDataModule: gives each rank its batches of a prepared corpus."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Generic

import lightning as L  # noqa: N812
from torch.utils.data import DataLoader, Dataset, Sampler

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import BatchConfig
from bert_lightning.corpus.store import PreparedCorpus
from bert_lightning.data.batches import TrainingBatches
from bert_lightning.data.dealing import StepPartition
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.data.phases import heaviest
from bert_lightning.data.statistics import DataStatistics
from bert_lightning.data.steps import AnyBatch, StepBatches
from bert_lightning.errors import UserError
from bert_lightning.evaluation.token_stats import TokenStats, token_stats


class StepData(L.LightningDataModule, ABC, Generic[AnyBatch]):
    """The training batches of any rank, and the held-out splits by their names.

    The rank is taken from the trainer; that of `partition` does not count.
    """

    def __init__(
        self,
        num_workers: int,
        partition: StepPartition,
        training_batches: Callable[[StepPartition], StepBatches[AnyBatch]],
    ) -> None:
        super().__init__()
        self.num_workers = num_workers
        self.partition = partition
        self.training_batches = training_batches

    @abstractmethod
    def held_out(self, split: str, rank: int, world_size: int) -> Dataset[AnyBatch] | None:
        """Returns the batches of a rank in a held-out split; None where there is no such split."""

    def train_dataloader(self) -> DataLoader[AnyBatch]:
        assert self.trainer is not None
        batches = self.training_batches(replace(self.partition, rank=self.trainer.global_rank))
        done = self.trainer.global_step * self.partition.accumulation
        return self._loader(batches, ResumableSampler(done, len(batches)))

    def val_dataloader(self) -> DataLoader[AnyBatch] | list[DataLoader[AnyBatch]]:
        return self._held_out_loader("validation")

    def test_dataloader(self) -> DataLoader[AnyBatch] | list[DataLoader[AnyBatch]]:
        return self._held_out_loader("test")

    def _held_out_loader(self, split: str) -> DataLoader[AnyBatch] | list[DataLoader[AnyBatch]]:
        assert self.trainer is not None
        batches = self.held_out(split, self.trainer.global_rank, self.trainer.world_size)
        return [] if batches is None else self._loader(batches)

    def _loader(
        self, batches: Dataset[AnyBatch], sampler: Sampler[int] | None = None
    ) -> DataLoader[AnyBatch]:
        assert self.trainer is not None
        workers = self.num_workers
        return TimedLoader(
            batches,
            sampler=sampler,
            batch_size=None,  # an item is a batch already
            collate_fn=_unchanged,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )


class PretrainingData(StepData[PretrainBatch]):
    """The training batches and the evaluation sets of a corpus."""

    def __init__(
        self,
        corpus: PreparedCorpus,
        config: BatchConfig,
        partition: StepPartition,
        training_batches: Callable[[StepPartition], TrainingBatches],
        evaluation_sets: Mapping[str, EvaluationSet],
    ) -> None:
        super().__init__(config.num_workers, partition, training_batches)
        self.corpus = corpus
        self.config = config
        self.evaluation_sets = evaluation_sets
        self.statistics: DataStatistics | None = None
        """Those of the first process, once they are counted."""

    @cached_property
    def token_stats(self) -> TokenStats:
        """The statistics of each token, for held-out scores."""
        return token_stats(self.corpus.tokenizer, self.corpus.splits["train"].token_counts)

    def held_out(self, split: str, rank: int, world_size: int) -> Dataset[PretrainBatch] | None:
        if split not in self.evaluation_sets:
            return None
        return self.evaluation_sets[split].batches(self.held_out_size, rank, world_size)

    @property
    def held_out_size(self) -> int:
        """Held-out examples at a time: no more tokens than training has in any phase."""
        phase = heaviest(self.config)
        tokens = self.partition.micro_batch_size(phase.global_batch_size) * phase.max_length
        return max(1, tokens // self.config.max_length)


class TimedLoader(DataLoader[AnyBatch]):
    """A loader that counts the seconds for which its reader waits."""

    waited = 0.0

    def __iter__(self) -> Iterator[AnyBatch]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            since = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            except UserError as error:  # of a worker: torch puts its traceback into the message
                raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error
            finally:
                self.waited += time.perf_counter() - since
            yield batch


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
