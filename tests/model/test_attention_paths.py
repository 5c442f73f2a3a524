"""Which attention a batch gets, and those that run on a CPU too."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bert_lightning.batch import pack_sequences
from bert_lightning.config import ModelConfig
from bert_lightning.model import attention_paths
from bert_lightning.model.attention import Buckets, attend_in_buckets, bucket_by_length
from bert_lightning.model.attention_paths import Dense, Flash, choose_attention, flash_reads

CPU = torch.device("cpu")


def chosen(lengths: list[int], hidden: int = 64) -> Any:
    ids = np.zeros(sum(lengths), np.int64)
    config = ModelConfig(hidden_size=hidden, num_attention_heads=2)
    x = torch.zeros(sum(lengths), hidden)
    return choose_attention(pack_sequences(ids, ids, np.array(lengths)), x, config)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA in 16 bits, without Triton."""
    monkeypatch.setattr(attention_paths, "flash_reads", lambda _: True)
    monkeypatch.setattr(attention_paths, "triton_runs", lambda: False)


def test_on_the_cpu_it_is_buckets() -> None:
    assert isinstance(chosen([5, 300]), Buckets)


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([256, 256], Dense(256)),
        ([512], Dense(512)),
        ([192, 192], Flash),  # too short
        ([320, 320, 64], Flash),  # not all of one length
        ([257, 257], Flash),  # no multiple of 64
        ([5, 128], Flash),
    ],
)
def test_without_triton(lengths: list[int], expected: Any) -> None:
    found = chosen(lengths)
    if expected is not Flash:
        assert found == expected
        return
    assert isinstance(found, Flash)
    assert found.cu_seqlens.dtype == torch.int32
    assert found.cu_seqlens.tolist() == [0, *np.cumsum(lengths)]
    assert found.longest == max(lengths)


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    ("lengths", "hidden", "expected"),
    [
        ([5, 128, 1], 64, "Tiles"),
        ([5, 129, 1], 64, "Flash"),
        ([5, 12], 48, "Flash"),  # heads of 24
        ([5, 12], 16, "Flash"),  # heads of 8
        ([256], 64, "Dense"),
    ],
)
def test_with_triton(
    lengths: list[int], hidden: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setattr(attention_paths, "triton_runs", lambda: True)
    assert type(chosen(lengths, hidden)).__name__ == expected


def test_dense_attention_equals_the_buckets_with_its_gradient() -> None:
    torch.manual_seed(0)
    qkv = torch.randn(2 * 24, 3, 2, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(48, 2, 8, dtype=torch.float64)
    buckets = bucket_by_length(np.array([24, 24]), 2, CPU)
    results = [Dense(24).attend(qkv, 0.0), attend_in_buckets(qkv, buckets, 0.0)]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad(each, qkv, weights)[0] for each in results))


def test_dense_attention_drops_weights_and_keeps_their_mean() -> None:
    torch.manual_seed(0)
    qkv, dense = torch.randn(32, 3, 2, 8), Dense(32)
    plain = dense.attend(qkv, 0.0)
    draws = torch.stack([dense.attend(qkv, 0.3) for _ in range(200)])
    assert (draws[0] != draws[1]).any()
    assert ((draws.mean(0) - plain).abs() / (draws.std(0) / 200**0.5)).max() < 6


@pytest.mark.parametrize(
    ("device", "dtype", "autocast", "reads"),
    [
        ("cuda", torch.bfloat16, False, True),
        ("cuda", torch.float16, False, True),
        ("cuda", torch.float32, True, True),
        ("cuda", torch.float32, False, False),
        ("cuda", torch.float64, False, False),
        ("cpu", torch.bfloat16, False, False),
        ("cpu", torch.float32, True, False),
    ],
)
def test_flash_attention_reads_half_precision_on_cuda_alone(
    device: str, dtype: torch.dtype, autocast: bool, reads: bool
) -> None:
    x: Any = SimpleNamespace(device=torch.device(device), is_cuda=device == "cuda", dtype=dtype)
    before = torch.is_autocast_enabled(device)
    torch.set_autocast_enabled(device, autocast)  # works without a GPU
    try:
        assert flash_reads(x) is reads
    finally:
        torch.set_autocast_enabled(device, before)
