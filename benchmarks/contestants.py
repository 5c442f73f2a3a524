"""The contestants that take training steps: this project, and the usual ways to pretrain BERT.

All have the same sizes and dropout, see the same pairs with the same masks, and minimize the same
joint loss; this project and Hugging Face's model start from the same weights.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Adam, AdamW

from benchmarks.padding import Padded, pad
from benchmarks.textbook import TextbookBert, textbook_loss
from bert_lightning.batch import PretrainBatch
from bert_lightning.config import ObjectiveConfig, TrainConfig
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.compilation import compile_parts, should_compile
from bert_lightning.model.hf_names import to_config, to_hugging_face
from bert_lightning.model.objective import joint_loss
from bert_lightning.optim.optimizers import build_optimizer

PADDED_PART = {"cpu": 64, "cuda": 256}
"""Examples that padded contestants process at a time: the logits of a global batch would take many
gigabytes, and smaller parts are faster on CPU."""


class Contestant(ABC):
    """A model with its optimizer; `seconds` has the time of each part of the steps so far."""

    optimizer: torch.optim.Optimizer
    keeps_freed_memory = True
    """Whether its process uses this project's setting of the memory allocator."""

    def __init__(self, name: str, model: nn.Module, bf16: bool, device: torch.device) -> None:
        self.name = name
        self.model = model.to(device)
        self.bf16 = bf16
        self.device = device
        self.seconds: dict[str, float] = {}
        self._since = 0.0

    @abstractmethod
    def prepare(self, batch: PretrainBatch) -> list[Any]:
        """Returns the parts of a global batch in the contestant's own form; not timed."""

    @abstractmethod
    def loss(self, part: Any) -> Tensor:
        """Returns what a part adds to the joint loss of the step."""

    def step(self, parts: list[Any]) -> float:
        """Takes one optimizer step; returns its joint loss in nats."""
        self._since = time.perf_counter()
        self.optimizer.zero_grad()
        losses = []
        for part in parts:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.loss(part)
            self.mark("forward")
            loss.backward()
            self.mark("backward")
            losses.append(loss.detach())
        self.optimizer.step()
        self.mark("optimizer")
        return float(sum(losses))

    def mark(self, part: str) -> None:
        """Adds the time since the last mark to this part of a step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


class Ours(Contestant):
    """This project's model and objective, on the whole global batch at a time."""

    def __init__(
        self, config: TrainConfig, vocab_size: int, weights: Mapping[str, Tensor], *, bf16: bool,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.bert = BertForPreTraining(config.model, vocab_size)
        self.bert.load_state_dict(weights)
        if should_compile(config.model.compile, device.type == "cuda"):
            compile_parts(self.bert)
        precision = "bf16" if bf16 else "fp32"
        super().__init__(f"bert-lightning, {precision}", self.bert, bf16, device)
        self.optimizer = build_optimizer(self.bert, config.optim, True)
        self.bert.register_forward_hook(lambda *_: self.mark("encoder, forward"))

    def prepare(self, batch: PretrainBatch) -> list[PretrainBatch]:
        return [move_data_to_device(batch, self.device)]

    def loss(self, part: PretrainBatch) -> Tensor:
        return joint_loss(self.bert.sums(part), part.global_counts, ObjectiveConfig().weights)


class HuggingFace(Contestant):
    """transformers' `BertForPreTraining` with its SDPA, on padded examples, and `AdamW`.

    `best` uses bf16, fused AdamW, and pads each part to its own longest example. `helped` adds what
    this project does around its model: it sorts examples by length before they are divided into
    parts, which no stock collator does, and sets the memory allocator in the same way.
    """

    def __init__(
        self, config: TrainConfig, vocab_size: int, weights: Mapping[str, Tensor], *, best: bool,
        helped: bool = False, device: torch.device,
    ) -> None:  # fmt: skip
        import transformers

        values = to_config(config.model, vocab_size)
        model = transformers.BertForPreTraining._from_config(
            transformers.BertConfig.from_dict(values), attn_implementation="sdpa"
        )
        missing, unexpected = model.load_state_dict(to_hugging_face(weights), strict=False)
        assert not unexpected, unexpected
        assert all("decoder" in name or "position_ids" in name for name in missing), missing
        name = "Hugging Face, " + ("helped" if helped else "best" if best else "as shipped")
        super().__init__(name, model.train(), best, device)
        self.keeps_freed_memory = self.by_length = helped
        self.length = None if best else config.batch.max_length
        self.pairs = config.batch.global_batch_size
        self.optimizer = AdamW(model.parameters(), config.optim.lr, fused=best)

    def prepare(self, batch: PretrainBatch) -> list[Padded]:
        return pad(batch, PADDED_PART[self.device.type], self.length, self.by_length, self.device)

    def loss(self, part: Padded) -> Tensor:
        both = self.model(
            input_ids=part.token_ids,
            token_type_ids=part.token_type_ids,
            attention_mask=part.attention_mask,
            labels=part.labels(),
            next_sentence_label=part.next_labels,
        ).loss
        return both * len(part.next_labels) / self.pairs  # a mean of means, as is usual


class Textbook(Contestant):
    """The textbook's code, on the whole global batch at a time, with its Adam."""

    keeps_freed_memory = False

    def __init__(self, config: TrainConfig, vocab_size: int, *, device: torch.device) -> None:
        self.bert = TextbookBert(config.model, vocab_size)
        super().__init__("textbook", self.bert, False, device)
        self.length = config.batch.max_length
        self.pairs = config.batch.global_batch_size
        self.optimizer = Adam(self.bert.parameters(), config.optim.lr)

    def prepare(self, batch: PretrainBatch) -> list[Padded]:
        return pad(batch, self.pairs, self.length, False, self.device)

    def loss(self, part: Padded) -> Tensor:
        return textbook_loss(self.bert, part)


NAMES = ("ours-bf16", "ours-fp32", "hf-best", "hf-helped", "hf", "textbook")


def contestants(
    config: TrainConfig, vocab_size: int, device: torch.device
) -> dict[str, Callable[[], Contestant]]:
    """Returns a maker of each contestant by its short name in `NAMES`, in that order."""
    torch.manual_seed(config.drawn_seed)
    weights = BertForPreTraining(config.model, vocab_size).state_dict()
    ours = partial(Ours, config, vocab_size, weights, device=device)
    hugging_face = partial(HuggingFace, config, vocab_size, weights, device=device)
    makers: list[Callable[[], Contestant]] = [
        partial(ours, bf16=True),
        partial(ours, bf16=False),
        partial(hugging_face, best=True),
        partial(hugging_face, best=True, helped=True),
        partial(hugging_face, best=False),
        partial(Textbook, config, vocab_size, device=device),
    ]
    return dict(zip(NAMES, makers, strict=True))
