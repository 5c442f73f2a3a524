"""What is compiled, when, and that it computes the same."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from test_bert import MODERN

from bert_lightning.batch import PretrainBatch, pack_sequences
from bert_lightning.config import ModelConfig, ObjectiveConfig
from bert_lightning.model import compilation
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.compilation import compile_parts, should_compile
from bert_lightning.model.objective import joint_loss

VOCAB = 50


def model(**kind: Any) -> BertForPreTraining:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForPreTraining(ModelConfig(**sizes, **dropout, **kind), VOCAB)


def batch(sequences: int) -> PretrainBatch:
    rng = np.random.default_rng(sequences)
    lengths = rng.integers(5, 40, sequences)
    ids = rng.integers(0, VOCAB, lengths.sum())
    masked = np.sort(rng.choice(len(ids), len(ids) // 7, replace=False))
    return PretrainBatch(
        pack_sequences(ids, ids % 2, lengths),
        torch.from_numpy(masked),
        torch.from_numpy(ids[masked]),
        {"nsp": torch.from_numpy(lengths % 2)},
        {"mlm": len(masked), "nsp": sequences},
    )


def loss_and_gradient(bert: BertForPreTraining, examples: PretrainBatch) -> torch.Tensor:
    loss = joint_loss(bert.sums(examples), examples.global_counts, ObjectiveConfig().weights)
    return torch.cat(
        [loss[None], *(g.flatten() for g in torch.autograd.grad(loss, [*bert.parameters()]))]
    )


@pytest.mark.parametrize("compiles", [False, True])
def test_padding_tokens_change_neither_loss_nor_gradient(compiles: bool) -> None:
    bert, examples = model(), batch(9)
    plain = loss_and_gradient(bert, examples)
    seen: list[int] = []
    bert.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0].token_ids)))
    bert.compiled = compiles
    torch.testing.assert_close(loss_and_gradient(bert, examples), plain)
    total = len(examples.sequences.token_ids)
    assert total % 64
    assert seen == [-(-total // 64) * 64 if compiles else total]
    assert len(bert(examples.sequences).hidden) == total


@pytest.mark.slow
@pytest.mark.parametrize("kind", [{}, MODERN], ids=["bert", "modern"])
def test_two_sizes_are_compiled_and_no_other_in_whole_graphs_that_all_blocks_share(
    kind: dict[str, Any],
) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    plain = model(**kind)
    compiled = deepcopy(plain)
    compile_parts(compiled, "eager")
    graphs = []
    for sequences in (7, 14, 20, 30, 3):
        examples = batch(sequences)
        ours, theirs = (loss_and_gradient(bert, examples) for bert in (compiled, plain))
        torch.testing.assert_close(ours, theirs)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == 4  # embeddings, queries to values, the rest of a block, the MLM head
    assert graphs[1] <= 8
    assert set(graphs[2:]) == {graphs[1]}
    assert not counters["graph_break"]


def test_names_stay_and_a_copy_is_compiled_with_weights_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilation, "_compiled", lambda method, _: method)
    bert = model()
    names = list(bert.state_dict())
    compile_parts(bert)
    average = deepcopy(bert)
    assert list(bert.state_dict()) == list(average.state_dict()) == names
    for one in (bert, average):
        assert one.compiled
        assert vars(one.encoder.embeddings)["forward"].__self__ is one.encoder.embeddings
        assert vars(one.mlm_head)["transform"].__self__ is one.mlm_head
        for block in one.encoder.blocks:
            assert vars(block)["add"].__self__ is block
            assert vars(block.attention)["project"].__self__ is block.attention
    assert not bert.another().compiled


@pytest.mark.parametrize("found", [None, "/usr/bin/g++"])
@pytest.mark.parametrize("wanted", [None, False, True])
def test_on_cpu_only_what_is_asked_for_is_compiled_and_a_missing_compiler_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    wanted: bool | None, found: str | None,
) -> None:  # fmt: skip
    monkeypatch.setenv("CXX", "c++-17")
    monkeypatch.setattr(compilation.shutil, "which", lambda name: found and name == "c++-17")
    assert should_compile(wanted, on_gpu=False) == (wanted is True and found is not None)
    named = "needs a C++ compiler on CPU, and there is no c++-17: nothing is compiled"
    assert (named in caplog.text) == (wanted is True and found is None)


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("wanted", [None, False, True])
def test_on_gpus_all_is_compiled_that_may_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    wanted: bool | None, runs: bool,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    monkeypatch.setattr(compilation, "triton_runs", lambda: runs)
    assert should_compile(wanted, on_gpu=True) == (wanted is not False and runs)
    assert ("model.compile=false" in caplog.text) == (wanted is None and runs)
