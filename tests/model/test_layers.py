import pytest
import torch

from bert_lightning.model.layers import Dropout, _FewRows, few_rows, keep_mask


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("size", [1_000_000, 999_997])
def test_drops_the_stated_share_and_keeps_the_mean(p: float, size: int) -> None:
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(size))
    dropped = (y == 0).double().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / size) ** 0.5 + 1 / 65536
    assert y.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)
    assert y.double().mean().item() == pytest.approx(1.0, abs=5e-3)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(1_000_000)) == 0).double()
    for distance in (1, 2, 3, 4, 8):
        pairs = torch.stack([dropped[:-distance], dropped[distance:]])
        assert abs(torch.corrcoef(pairs)[0, 1].item()) < 5e-3


def test_the_gradient_has_the_same_mask_and_scale() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_is_a_function_of_the_seed_and_is_off_in_evaluation() -> None:
    layer, x = Dropout(0.5), torch.randn(100)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(first, layer(x))
    assert not torch.equal(first, layer(x))
    assert layer.eval()(x) is x
    before = torch.get_rng_state()
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_keeps_the_type(dtype: torch.dtype) -> None:
    assert Dropout(0.2)(torch.ones(10, dtype=dtype)).dtype is dtype
    assert keep_mask(torch.ones(10, dtype=dtype), 0.2).dtype is dtype


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.02)])
def test_a_gradient_by_a_product_is_that_of_the_embedding(
    dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 6, (500,))  # and no token has the last row
    weight = torch.randn(7, 16, dtype=dtype, requires_grad=True)
    scale = torch.randn(500, 16, dtype=dtype)
    found = _FewRows.apply(ids, weight)  # type: ignore[no-untyped-call]
    expected = torch.nn.functional.embedding(ids, weight)
    assert torch.equal(found, expected)
    assert torch.equal(few_rows(ids, weight), expected)
    one, other = (torch.autograd.grad((x * scale).sum(), weight)[0] for x in (found, expected))
    if dtype is torch.bfloat16:  # the embedding's own adds up in bf16
        whole = weight.detach().double().requires_grad_()
        looked_up = torch.nn.functional.embedding(ids, whole)
        (other,) = torch.autograd.grad((looked_up * scale.double()).sum(), whole)
    torch.testing.assert_close(one.double(), other.double(), rtol=tolerance, atol=10 * tolerance)
    assert not one[-1].any()


def test_a_compiled_part_has_the_product_too() -> None:
    ids = torch.tensor([1, 0, 1])
    weight = torch.randn(2, 4, requires_grad=True)
    compiled = torch.compile(lambda: 2 * _FewRows.apply(ids, weight), backend="aot_eager")  # type: ignore[no-untyped-call]
    (found,) = torch.autograd.grad(compiled().sum(), weight)
    torch.testing.assert_close(found, torch.tensor([[2.0] * 4, [4.0] * 4]))
