"""The Triton kernel of attention against its definition, with dropout's exact mask.

Without a GPU, Triton's interpreter runs the kernel: `conftest.py` asks for it.
"""

import doctest
from typing import Any

import numpy as np
import pytest
import torch
from padded import padded_encoder
from test_bert import gradients, small_model, some_sequences

from bert_lightning.batch import pack_sequences
from bert_lightning.model import attention_paths

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float16, torch.bfloat16 if DEVICE == "cuda" else torch.float32]
"""The interpreter multiplies the bits of bf16 as if they were integers."""
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
SHORT, LONG = [33, 1, 31, 32], [127, 65, 128]


@pytest.fixture
def kernel() -> Any:
    """The module of the kernel."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from bert_lightning.model.kernels import attention_tiles

    return attention_tiles


def tiles(kernel: Any, lengths: list[int]) -> Any:
    ids = np.zeros(sum(lengths), np.int64)
    return kernel.Tiles.of(pack_sequences(ids, ids, np.array(lengths)).on(torch.device(DEVICE)))


def attend(kernel: Any, qkv: torch.Tensor, lengths: list[int], p: float, seed: int) -> torch.Tensor:
    given = torch.tensor([seed], device=DEVICE)
    return kernel.attend_in_tiles(qkv, *tiles(kernel, lengths), given, p)


def masks(kernel: Any, lengths: list[int], heads: int, p: float, seed: int) -> list[torch.Tensor]:
    """Of each sequence, `(heads, length, length)`: 1 where dropout keeps a weight.

    The scores are equal, and value j is 1 in its place j: so the results are the weights.
    """
    qkv = torch.zeros(sum(lengths), 3, heads, 128, dtype=torch.float16, device=DEVICE)
    places = torch.cat([torch.arange(length) for length in lengths]).to(DEVICE)
    qkv[torch.arange(len(qkv)), 2, :, places] = 1
    used = attend(kernel, qkv, lengths, p, seed).cpu().split(lengths)
    return [(part[..., : len(part)] > 0).double().transpose(0, 1) for part in used]


def defined(qkv: torch.Tensor, kept: list[torch.Tensor], p: float) -> torch.Tensor:
    """The definition of `attend_in_buckets`, one sequence at a time, for autograd."""
    results = []
    for part, mask in zip(qkv.split([mask.shape[1] for mask in kept]), kept, strict=True):
        query, key, value = part.permute(1, 2, 0, 3)  # each (heads, length, head_dim)
        weights = (query.shape[-1] ** -0.5 * query @ key.mT).softmax(-1)
        results.append((weights * mask / (1 - p) @ value).transpose(0, 1))
    return torch.cat(results)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("lengths", "heads", "size", "p"),
    [(SHORT, 2, 32, 0.3), (LONG, 1, 64, 0.1), ([40], 3, 16, 0.0), ([7], 1, 128, 0.3)],
    ids=["short", "long", "size-16", "size-128"],
)
def test_equals_the_definition_with_its_gradients(
    kernel: Any, lengths: list[int], heads: int, size: int, p: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, heads, size).to(DEVICE, dtype).requires_grad_()
    grad = torch.randn(sum(lengths), heads, size).to(DEVICE, dtype)
    exact = qkv.detach().double().cpu().requires_grad_()
    expected = defined(exact, masks(kernel, lengths, heads, p, seed=5), p)
    mixed = attend(kernel, qkv, lengths, p, seed=5)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(mixed.double().cpu(), expected, atol=4 * tolerance, rtol=tolerance)
    (ours,) = torch.autograd.grad(mixed, qkv, grad)
    (theirs,) = torch.autograd.grad(expected, exact, grad.double().cpu())
    torch.testing.assert_close(ours.double().cpu(), theirs, atol=8 * tolerance, rtol=tolerance)


def test_a_neighbor_of_nans_changes_nothing(kernel: Any) -> None:
    lengths, dtype = [5, 3, 40, 2], DTYPES[0]
    qkv = torch.randn(50, 3, 1, 16).to(DEVICE, dtype).requires_grad_()
    bad = qkv.detach().clone()
    bad[5:8] = torch.nan
    bad.requires_grad_()
    clean, beside = (attend(kernel, each, lengths, 0.2, seed=1) for each in (qkv, bad))
    of_clean, of_beside = (
        torch.autograd.grad(mixed.float().square().sum(), each)[0]
        for mixed, each in ((clean, qkv), (beside, bad))
    )
    others = torch.ones(50, dtype=torch.bool)
    others[5:8] = False
    assert torch.equal(clean[others], beside[others])
    assert torch.equal(of_clean[others], of_beside[others])
    assert beside[5:8].isnan().all()
    assert of_clean.isfinite().all()


def test_sequences_without_tokens_are_no_sequences(kernel: Any) -> None:
    """A batch of a fixed number of sequences repeats its end."""
    qkv = torch.randn(9, 3, 1, 16).to(DEVICE, DTYPES[0])
    made = tiles(kernel, [4, 5])
    more = torch.tensor([0, 4, 9, 9, 9], device=DEVICE)
    longer = made._replace(cu_seqlens=more, order=more.diff().argsort(descending=True))
    assert torch.equal(made.attend(qkv, 0.0), longer.attend(qkv, 0.0))


def test_masks_keep_the_right_fraction_and_no_two_are_alike(kernel: Any) -> None:
    lengths, p = [64, 64], 0.1
    drawn = torch.stack(masks(kernel, lengths, 2, p, seed=5)).flatten(0, 1)  # (4, 64, 64)
    error = (p * (1 - p) / 64**2) ** 0.5
    assert (drawn.mean((1, 2)) - (1 - p)).abs().max() < 5 * error
    signs = (drawn.flatten(1) - (1 - p)) / (p * (1 - p)) ** 0.5
    correlations = (signs @ signs.T / 64**2).fill_diagonal_(0)
    assert correlations.abs().max() < 5 / 64
    rows = drawn[0] - (1 - p)
    assert (rows[:, 1:] * rows[:, :-1]).mean().abs() < 5 * error**2 * 64  # columns, side by side
    assert not torch.equal(drawn[0], masks(kernel, lengths, 2, p, seed=6)[0][0])


def test_the_mask_follows_from_torchs_generator(kernel: Any) -> None:
    made, qkv = tiles(kernel, [12]), torch.randn(12, 3, 1, 16).to(DEVICE, DTYPES[0])
    torch.manual_seed(3)
    first, second = made.attend(qkv, 0.5), made.attend(qkv, 0.5)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(made.attend(qkv, 0.5), first)
    state = torch.get_rng_state()
    made.attend(qkv, 0.0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("kernel")
@pytest.mark.skipif(DEVICE == "cuda", reason="test_model_on_gpu.py does this on a GPU")
def test_the_whole_encoder_equals_the_padded_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_paths, "flash_reads", lambda _: True)
    monkeypatch.setattr(attention_paths, "triton_runs", lambda: True)
    model = small_model(num_attention_heads=2, num_hidden_layers=1)
    sequences = some_sequences([7, 40])
    expected = padded_encoder(dict(model.encoder.named_parameters()), model.config, sequences)
    theirs = gradients(model, expected)
    ours = model.float()(sequences).hidden.double()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(gradients(model, ours), theirs, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)


def test_the_worked_example(kernel: Any) -> None:
    found = doctest.testmod(kernel)
    assert found.attempted > 2
    assert not found.failed


@pytest.mark.slow
def test_torch_knows_its_shapes_and_gradient_and_compiles_once_for_all_lengths(kernel: Any) -> None:
    qkv = torch.randn(43, 3, 1, 16).to(DEVICE, DTYPES[0]).requires_grad_()
    seed = torch.tensor([5], device=DEVICE)
    torch.library.opcheck(kernel.attend_in_tiles, (qkv, *tiles(kernel, [3, 40]), seed, 0.3))
    graphs = []

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda ends: ends.attend(qkv, 0.3), backend=count, dynamic=False)
    for lengths in ([3, 40], [20, 23], [40, 3]):
        torch.manual_seed(0)
        ours = compiled(tiles(kernel, lengths))
        torch.manual_seed(0)
        assert torch.equal(ours, tiles(kernel, lengths).attend(qkv, 0.3))
    assert len(graphs) == 1
