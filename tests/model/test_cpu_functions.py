"""The functions in C for bf16 on CPU against the plain lines that they equal."""

import logging
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from bert_lightning.config import ModelConfig
from bert_lightning.model import linear_cross_entropy
from bert_lightning.model.kernels import cpu
from bert_lightning.model.layers import Dropout, LayerNorm, add_norm, keep_mask

needs_gcc = pytest.mark.skipif(cpu.lacks() is not None, reason=str(cpu.lacks()))
ROWS, WORDS = 37, 1003  # not a multiple of a vector's length
BF16 = 2**-8


@pytest.fixture
def _compiled_anew() -> Iterator[None]:
    cpu.library.cache_clear()
    yield
    cpu.library.cache_clear()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def deviation(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


@needs_gcc
@pytest.mark.usefixtures("threads")
def test_loss_and_gradients_of_logits_are_within_the_rounding_of_exact_ones() -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(ROWS + 5, WORDS)).bfloat16()
    bias, labels = torch.randn(WORDS), torch.randint(0, WORDS, (ROWS,))
    exact = (logits[:ROWS].double() + bias).requires_grad_()
    labels[::2] = exact.argmax(1)[::2]
    expected = F.cross_entropy(exact, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(expected, exact)
    nll, correct, found, of_bias = cpu.cross_entropy(logits, bias, labels)
    assert nll.item() == pytest.approx(expected.item(), rel=1e-6)
    assert correct == (exact.argmax(1) == labels).sum()
    assert found is logits
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found[:ROWS].double(), gradient, rtol=BF16, atol=1e-30)
    assert (found[ROWS:] == 0).all()
    torch.testing.assert_close(of_bias.double(), gradient.sum(0), rtol=1e-5, atol=1e-6)


@needs_gcc
def test_they_count_equals_and_bound_the_loss_as_the_plain_lines_do() -> None:
    logits = torch.tensor([[2.0, 2, 1, 2], [0, 3, 3, 0], [1, 0, 0, 0], [0, 0, 500, 0]]).bfloat16()
    labels = torch.tensor([0, 2, 1, 1])
    plain = linear_cross_entropy.cross_entropy(logits, labels)
    nll, correct, *_ = cpu.cross_entropy(logits.clone(), torch.zeros(4), labels)
    assert correct.item() == pytest.approx(1 / 3 + 1 / 2)
    assert correct.item() == pytest.approx(plain[1].item())
    assert nll.item() == pytest.approx(plain[0].item(), rel=BF16)
    logits[0, 3] = float("nan")
    assert cpu.cross_entropy(logits, torch.zeros(4), labels)[0].isnan()


@needs_gcc
def test_exponentials_are_near_over_their_whole_range() -> None:
    x = torch.linspace(-100, 0, 8001)
    logits = torch.zeros(1, len(x)).bfloat16()
    *_, of_bias = cpu.cross_entropy(logits, x, torch.tensor([len(x) - 1]))
    expected = x.double().softmax(0)
    expected[-1] -= 1
    reached = x > -78  # those below are subnormal once they are divided by the sum
    torch.testing.assert_close(of_bias.double()[reached], expected[reached], rtol=3e-6, atol=0)
    assert of_bias[~reached].max() < 1e-34


@needs_gcc
def test_wide_sums_of_narrow_values_are_exact() -> None:
    torch.manual_seed(0)
    sums, values = torch.randn(7, 13), torch.randn(7, 13).bfloat16()
    expected = sums + values.float()
    assert cpu.accumulate(sums, values.T.contiguous().T) is sums
    assert torch.equal(sums, expected)


@needs_gcc
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("p", "training"), [(0.2, True), (0.0, True), (0.2, False)])
@pytest.mark.parametrize("bias", [True, False])
def test_adding_and_normalizing_is_within_the_rounding_of_exact_results(
    p: float, training: bool, bias: bool
) -> None:
    torch.manual_seed(0)
    norm = LayerNorm(ModelConfig(hidden_size=40, num_attention_heads=2, bias=bias))
    parameters = list(norm.parameters())
    for parameter in parameters:
        torch.nn.init.normal_(parameter)
    dropout = Dropout(p).train(training)
    x, more, grad = (torch.randn(ROWS, 40).bfloat16() for _ in range(3))

    def results(x: Tensor, more: Tensor, exact: bool) -> list[Tensor]:
        inputs = [x.requires_grad_(), more.requires_grad_()]
        torch.manual_seed(1)
        if exact:
            kept = keep_mask(more.detach(), p) if training and p else torch.ones(())
            total = x + more * kept / (1 - p if training else 1)
            of_bias = None if norm.bias is None else norm.bias.double()
            out = F.layer_norm(total, (40,), norm.weight.double(), of_bias, norm.eps)
        else:
            out = add_norm(x, more, dropout, norm)
            assert out.grad_fn is not None
            assert "AddNorm" in out.grad_fn.name()
        return [out, *torch.autograd.grad(out, [*inputs, *parameters], grad.to(out.dtype))]

    found = results(x.clone(), more.clone(), exact=False)
    expected = results(x.double(), more.double(), exact=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert deviation(ours, theirs) < 2 * BF16


@pytest.mark.usefixtures("_compiled_anew")
def test_without_gcc_plain_lines_compute_it_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    caplog.set_level(logging.INFO)
    x = torch.randn(3, 8).bfloat16()
    assert not cpu.fits(x)
    assert not cpu.fits(x)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "bf16 on CPU trains slower without functions compiled by gcc"
    ]


@needs_gcc
@pytest.mark.usefixtures("_compiled_anew")
def test_what_gcc_says_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu, "_FLAGS", ("--no-such-flag",))
    caplog.set_level(logging.INFO)
    assert cpu.library() is None
    assert "no-such-flag" in caplog.text
