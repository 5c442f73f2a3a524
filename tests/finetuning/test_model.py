"""A task's head computes what Hugging Face's heads compute, and its loss what its name says."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bert_lightning.batch import pack_sequences
from bert_lightning.config import ModelConfig
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.finetuning.model import BertForTask, HeadShape
from bert_lightning.finetuning.task_batch import TaskBatch
from bert_lightning.model.hf_names import to_config, to_hugging_face
from bert_lightning.model.rounding import rounded

VOCAB, HIDDEN = 50, 32
LENGTHS = np.array([5, 9, 2])
CONFIG = ModelConfig(
    hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
)


def model_of(kind: TaskKind, outputs: int, pooling: Pooling) -> BertForTask:
    torch.manual_seed(0)
    return BertForTask(CONFIG, VOCAB, HeadShape(kind, outputs, pooling)).eval()


def batch_of(positions: list[int], labels: Tensor) -> TaskBatch:
    generator = np.random.default_rng(0)
    ids = generator.integers(5, VOCAB, size=LENGTHS.sum())
    types = generator.integers(2, size=LENGTHS.sum())
    index = torch.arange(len(labels))
    name = "text"
    sequences = pack_sequences(ids, types, LENGTHS)
    widths = np.ones(len(labels), np.int64)
    return TaskBatch(sequences, torch.tensor(positions), labels, widths, index, {name: len(labels)})


def padded(batch: TaskBatch) -> dict[str, Tensor]:
    """The same batch as Hugging Face's models read it."""
    ids, types = (
        nn.utils.rnn.pad_sequence(list(values.split(LENGTHS.tolist())), batch_first=True)
        for values in (batch.sequences.token_ids, batch.sequences.token_type_ids)
    )
    mask = torch.arange(ids.shape[1]) < torch.from_numpy(LENGTHS)[:, None]
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask.long()}


def theirs_like(ours: BertForTask, name: str) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(**to_config(CONFIG, VOCAB), num_labels=ours.shape.outputs)
    model = getattr(transformers, name)(config).eval()
    state = to_hugging_face(ours.state_dict())
    state |= {
        f"classifier.{key}": value for key, value in ours.head.classifier.state_dict().items()
    }
    lost = model.load_state_dict(state, strict=False)
    assert not lost.missing_keys
    assert not lost.unexpected_keys
    return model


STARTS = [0, 5, 14]


def test_a_sequence_has_the_logits_of_hugging_face() -> None:
    ours = model_of(TaskKind.text, 3, Pooling.pooler)
    batch = batch_of(STARTS, torch.tensor([0, 2, 1]))
    theirs = theirs_like(ours, "BertForSequenceClassification")
    with torch.no_grad():
        expected = theirs(**padded(batch)).logits
        found = ours(batch.sequences, batch.positions)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_words_have_the_logits_of_hugging_face_at_their_first_tokens() -> None:
    ours = model_of(TaskKind.tokens, 4, Pooling.cls)
    batch = batch_of([1, 3, 6, 7, 10], torch.tensor([0, 3, 1, 1, 2]))
    theirs = theirs_like(ours, "BertForTokenClassification")
    with torch.no_grad():
        logits = theirs(**padded(batch)).logits
        found = ours(batch.sequences, batch.positions)
    expected = torch.stack([logits[0, 1], logits[0, 3], logits[1, 1], logits[1, 2], logits[1, 5]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", [Pooling.mean, Pooling.cls])
def test_other_poolings_are_what_their_names_say(pooling: Pooling) -> None:
    ours = model_of(TaskKind.text, 2, pooling)
    batch = batch_of(STARTS, torch.tensor([0, 1, 1]))
    with torch.no_grad():
        hidden = ours.encoder(batch.sequences).split(LENGTHS.tolist())
        vectors = [rows.mean(0) if pooling is Pooling.mean else rows[0] for rows in hidden]
        expected = ours.head.classifier(torch.stack(vectors))
        torch.testing.assert_close(ours(batch.sequences, batch.positions), expected)
    assert ours.pooler is None


def test_a_loss_is_the_sum_over_labels() -> None:
    labels = torch.tensor([2, 0, 1])
    ours = model_of(TaskKind.text, 3, Pooling.pooler)
    batch = batch_of(STARTS, labels)
    sums = ours.sums(batch)["text"]
    log_probabilities = ours(batch.sequences, batch.positions).log_softmax(1)
    expected = -sum(row[label] for row, label in zip(log_probabilities, labels, strict=True))
    torch.testing.assert_close(sums.nll, expected)
    assert sums.labels == 3


def test_a_number_is_learned_in_standard_deviations_and_told_in_its_own_units() -> None:
    labels = torch.tensor([3.0, 5.0, 4.0])
    ours = model_of(TaskKind.number, 1, Pooling.mean)
    assert ours.head.mean is not None
    ours.head.mean.fill_(4.0)
    ours.head.scale.fill_(2.0)
    batch = batch_of(STARTS, labels)
    found = ours(batch.sequences, batch.positions)[:, 0]
    sums = ours.sums(batch)["number"]
    torch.testing.assert_close(sums.nll, 0.5 * ((found - labels) / 2).square().sum())
    assert sums.labels == 3
    assert sums.correct.isnan()  # a number is not right or wrong
    plain = nn.functional.linear(
        torch.stack(
            [rows.mean(0) for rows in ours.encoder(batch.sequences).split(LENGTHS.tolist())]
        ),
        ours.head.classifier.weight,
        ours.head.classifier.bias,
    )
    torch.testing.assert_close(found, plain[:, 0] * 2 + 4)


def test_dropout_is_on_in_training() -> None:
    ours = model_of(TaskKind.text, 3, Pooling.pooler)
    batch = batch_of(STARTS, torch.tensor([0, 2, 1]))
    one, two = (ours(batch.sequences, batch.positions) for _ in range(2))
    assert torch.equal(one, two)
    ours.train()
    one, two = (ours(batch.sequences, batch.positions) for _ in range(2))
    assert not torch.equal(one, two)


def test_rounding_up_the_tokens_changes_no_output() -> None:
    sequences = pack_sequences(np.arange(5, 17), np.zeros(12, np.int64), np.array([7, 5]))
    longer = rounded(sequences)

    assert longer.lengths.tolist() == [7, 5, 52]
    assert longer.cu_seqlens.tolist() == [0, 7, 12, 64]
    assert len(longer.token_ids) == len(longer.position_ids) == 64
    assert rounded(longer) is longer
    encoder = model_of(TaskKind.text, 2, Pooling.cls).encoder
    torch.testing.assert_close(encoder(longer)[:12], encoder(sequences))
