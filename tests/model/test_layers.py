import pytest
import torch

from bert_lightning.model.layers import Dropout, keep_mask


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
