import pytest
import torch

from bert_lightning.model.kernels.few_rows import _FewRows, few_rows


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
