"""The LightningDataModule: hands each device its batches of a prepared corpus."""

from dataclasses import replace
from typing import Any

import lightning as L  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from bert_lightning.batch import PretrainBatch
from bert_lightning.config import DataConfig
from bert_lightning.data.batches import EvaluationBatches, Share, TrainingBatches
from bert_lightning.data.store import PreparedCorpus


class PretrainingData(L.LightningDataModule):
    """MLM and NSP batches of a corpus.

    Args:
        corpus: the prepared corpus.
        config: the options that batches are made with.
        seed: decides order, pairs and masks of training batches.
        share: how the global batch is divided; the rank is taken from the trainer.
        steps: optimiser steps of the whole run.
    """

    def __init__(
        self, corpus: PreparedCorpus, config: DataConfig, seed: int, share: Share, steps: int
    ) -> None:
        super().__init__()
        self.corpus = corpus
        self.config = config
        self.seed = seed
        self.share = share
        self.steps = steps

    def train_dataloader(self) -> DataLoader[PretrainBatch]:
        assert self.trainer is not None
        share = replace(self.share, rank=self.trainer.global_rank)
        return self._loader(TrainingBatches(self.corpus, self.config, self.seed, share, self.steps))

    def val_dataloader(self) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        return self._held_out("validation")

    def test_dataloader(self) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        return self._held_out("test")

    def _held_out(self, split: str) -> DataLoader[PretrainBatch] | list[DataLoader[PretrainBatch]]:
        assert self.trainer is not None
        if split not in self.corpus.splits:
            return []
        return self._loader(
            EvaluationBatches(
                self.corpus,
                split,
                self.config,
                self.share.micro_batch_size,
                self.trainer.global_rank,
                self.trainer.world_size,
            )
        )

    def _loader(self, batches: Dataset[PretrainBatch]) -> DataLoader[PretrainBatch]:
        workers = self.config.num_workers
        return DataLoader(
            batches,
            batch_size=None,  # an item is a batch already
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None
            and self.trainer.strategy.root_device.type == "cuda",
        )


def _as_it_is(batch: Any) -> Any:
    return batch
