"""`pool` against its specification in float64, through the door and Triton's interpreter."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import assert_caught
from torch import Tensor

from honed_kernels.ops.pool import Kind, pool
from honed_kernels.reference.pool import pool as reference
from honed_kernels.status import EMPTY
from honed_kernels.triton_kernels import pool as kernels

KINDS: tuple[Kind, ...] = ("cls", "last", "mean", "max")
# Lengths round the tile of 64 tokens by 64 columns, with empty sequences at both ends.
PLAIN = [0, 1, 63, 64, 65, 2, 0]
# Lengths round the tile of a norm: 8 tokens (16 without a layer norm) of 384 columns padded to 512.
NORMED = [0, 1, 7, 8, 9, 17, 0]


def ragged(
    lengths: list[int], hidden_size: int, dtype: torch.dtype, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """States with NaN wherever no one may look: round the rows and round cu_seqlens."""
    random = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    around = torch.full((tokens + 5, hidden_size + 24), float("nan"), dtype=dtype)
    states = torch.randn(tokens, hidden_size, generator=random, dtype=torch.float64)
    around[2 : 2 + tokens, 8 : 8 + hidden_size] = states * 3 + 1
    ends = torch.tensor([2, *lengths]).cumsum(0)
    boundaries = torch.full((len(ends) + 4,), -(2**31), dtype=torch.int32)
    boundaries[3:-1] = ends
    return around[:, 8 : 8 + hidden_size], boundaries[3:-1]


def layer_norm(hidden_size: int, *, bias: bool, dtype: torch.dtype = torch.float32) -> Any:
    random = torch.Generator().manual_seed(1)
    weight, shift = torch.randn(2, hidden_size, generator=random, dtype=dtype)
    return weight, shift if bias else None, 1e-12


def in_float64(norm: Any) -> Any:
    if norm is None:
        return None
    weight, bias, eps = norm
    return weight.double(), None if bias is None else bias.double(), eps


def assert_as_exact_as_pytorch(
    hidden: Tensor, cu_seqlens: Tensor, got: Tensor, **options: Any
) -> None:
    """Our error is at most twice that of PyTorch in float32, plus 8 roundings of the largest."""
    norm = options.pop("norm", None)
    want, _ = reference(hidden.double(), cu_seqlens, norm=in_float64(norm), **options)
    plain, _ = reference(hidden.float(), cu_seqlens, norm=norm, **options)
    allowed = 2 * (plain - want).abs().max() + 8 * 2**-24 * want.abs().max()
    assert got.dtype == torch.float32
    assert (got - want).abs().max() <= allowed


@pytest.mark.parametrize(
    ("kind", "dtype", "hidden_size"),
    [
        ("mean", torch.float32, 100),  # a second block of columns that is not full
        ("max", torch.float32, 100),
        ("mean", torch.bfloat16, 64),  # one exact block; widened before the sum
        ("max", torch.float16, 32),  # less than a block
        ("cls", torch.bfloat16, 384),  # MiniLM, tiles of one token
        ("last", torch.float16, 1),  # one column
    ],
)
def test_agrees_with_the_reference(kind: Kind, dtype: torch.dtype, hidden_size: int) -> None:
    hidden, cu_seqlens = ragged(PLAIN, hidden_size, dtype)
    pooled, status = pool(hidden, cu_seqlens, kind=kind)
    assert_as_exact_as_pytorch(hidden, cu_seqlens, pooled, kind=kind)
    assert status.tolist() == [EMPTY, 0, 0, 0, 0, 0, EMPTY]
    assert not pooled[[0, -1]].any()


@pytest.mark.parametrize(
    ("kind", "bias", "normalize"),
    [
        ("cls", True, True),
        ("last", False, True),
        ("mean", True, False),
        ("mean", False, True),
        ("max", True, True),
        ("max", False, False),
    ],
)
def test_normalizes_tokens_before_pooling_and_vectors_after(
    kind: Kind, bias: bool, normalize: bool
) -> None:
    hidden, cu_seqlens = ragged(NORMED, 384, torch.bfloat16)
    options = {"kind": kind, "normalize": normalize, "norm": layer_norm(384, bias=bias)}
    pooled, status = pool(hidden, cu_seqlens, **options)
    assert_as_exact_as_pytorch(hidden, cu_seqlens, pooled, **options)
    # An empty sequence is 0 even where the norm has a bias.
    assert not pooled[status == EMPTY].any()


@pytest.mark.parametrize("kind", ["mean", "cls"])
def test_unit_length_without_a_layer_norm(kind: Kind) -> None:
    hidden, cu_seqlens = ragged(NORMED, 384, torch.float16)
    pooled, _ = pool(hidden, cu_seqlens, kind=kind, normalize=True)
    assert_as_exact_as_pytorch(hidden, cu_seqlens, pooled, kind=kind, normalize=True)
    zeros = torch.zeros(3, 384)
    assert not pool(zeros, torch.tensor([0, 3], dtype=torch.int32), kind=kind, normalize=True)[
        0
    ].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_not_finite_stays_in_its_column(kind: Kind) -> None:
    hidden, cu_seqlens = torch.ones(3, 4), torch.tensor([0, 1, 3], dtype=torch.int32)
    hidden[0] = torch.tensor([float("nan"), float("inf"), float("-inf"), -3e38])
    pooled, status = pool(hidden, cu_seqlens, kind=kind)
    torch.testing.assert_close(pooled[0], hidden[0], equal_nan=True)
    assert pooled[1].tolist() == [1, 1, 1, 1]
    assert status.tolist() == [0, 0]


def test_max_sees_a_nan_wherever_it_is() -> None:
    for place in range(3):
        hidden = torch.tensor([[1.0], [2.0], [3.0]])
        hidden[place] = float("nan")
        assert pool(hidden, torch.tensor([0, 3], dtype=torch.int32), kind="max")[0].isnan().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_nothing_to_pool(kind: Kind, lengths: list[int]) -> None:
    cu_seqlens = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    pooled, status = pool(torch.zeros(0, 8), cu_seqlens, kind=kind, normalize=True)
    assert pooled.shape == (len(lengths), 8)
    assert not pooled.any()
    assert status.tolist() == [EMPTY] * len(lengths)


@settings(max_examples=6, derandomize=True, deadline=None, database=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=2, max_size=4),
    order=st.randoms(use_true_random=False),
    kind=st.sampled_from(["mean", "max"]),
    normalize=st.booleans(),
)
def test_no_bit_depends_on_the_batch(
    lengths: list[int], order: Any, kind: Kind, normalize: bool
) -> None:
    hidden, cu_seqlens = ragged(lengths, 20, torch.bfloat16)
    together, _ = pool(hidden, cu_seqlens, kind=kind, normalize=normalize)
    spans = list(enumerate(pairwise(cu_seqlens.tolist())))
    order.shuffle(spans)
    parts = [hidden[start:end] for _, (start, end) in spans]
    ends = torch.tensor([0, *map(len, parts)]).cumsum(0).to(torch.int32)
    shuffled, _ = pool(torch.cat(parts), ends, kind=kind, normalize=normalize)
    for place, (row, (start, end)) in enumerate(spans):
        alone, _ = pool(
            hidden, torch.tensor([start, end], dtype=torch.int32), kind=kind, normalize=normalize
        )
        assert torch.equal(alone[0], together[row])
        assert torch.equal(shuffled[place], together[row])


def check_mean(module: ModuleType) -> None:
    check_launch(module, kind="mean")


def check_last(module: ModuleType) -> None:
    check_launch(module, kind="last")


def check_norm(module: ModuleType) -> None:
    check_launch(module, kind="max", normalize=True, norm=layer_norm(20, bias=True))


def check_launch(
    module: ModuleType, *, kind: str, normalize: bool = False, norm: Any = None
) -> None:
    """Outputs lie between canaries; whatever is not a state of a sequence is NaN."""
    hidden, cu_seqlens = ragged([0, 65, 3], 20, torch.float32)
    buffer, bits = torch.full((100,), 12345.0), torch.full((9,), 12345, dtype=torch.int32)
    pooled, status = buffer[20:80].view(3, 20), bits[3:6]
    weight, bias, eps = norm or (None, None, 0.0)
    module.launch(
        hidden, cu_seqlens, pooled, status,
        kind=kind, normalize=normalize, weight=weight, bias=bias, eps=eps,
    )  # fmt: skip
    assert buffer[:20].eq(12345).all()
    assert buffer[80:].eq(12345).all()
    assert bits.tolist() == [12345] * 3 + [EMPTY, 0, 0] + [12345] * 3
    options = {"kind": kind, "normalize": normalize, "norm": norm}
    assert_as_exact_as_pytorch(hidden, cu_seqlens, pooled, **options)


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("(token < end)[:, None]", "(token <= end)[:, None]", check_mean),
        ("inside = columns < hidden_size", "inside = columns <= hidden_size", check_mean),
        ("vector /= tl.maximum(length, 1)", "vector /= tl.maximum(length, 2) + 1", check_mean),
        ("start = tl.maximum(start, end - 1)", "start = tl.maximum(start, end - 2)", check_last),
        ("inside[None, :], x - mean[:, None], 0.0", "True, x - mean[:, None], 0.0", check_norm),
        ("if bias is not None:", "if bias is None:", check_norm),
        ("inside & (length > 0), vector, 0.0", "inside, vector, 0.0", check_norm),
    ],
)
def test_a_broken_kernel_is_caught(old: str, new: str, check: Any, tmp_path: Path) -> None:
    assert_caught(kernels, old, new, check, tmp_path)


# float64 takes the reference path and the same gradient.
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: Kind, normed: bool) -> None:
    hidden, cu_seqlens = ragged([2, 0, 3, 1], 3, torch.float64)
    hidden = hidden.nan_to_num(0.5).requires_grad_()
    weight, bias, _ = layer_norm(3, bias=True, dtype=torch.float64)
    inputs = (hidden, weight.requires_grad_(), bias.requires_grad_()) if normed else (hidden,)

    def run(states: Tensor, *norm: Tensor) -> Tensor:
        return pool(
            states, cu_seqlens, kind=kind, normalize=True, norm=(*norm, 1e-5) if norm else None
        )[0]

    assert torch.autograd.gradcheck(run, inputs)


def test_equal_greatest_states_share_the_gradient() -> None:
    hidden = torch.tensor([[2.0], [1.0], [2.0]], requires_grad=True)
    pool(hidden, torch.tensor([0, 3], dtype=torch.int32), kind="max")[0].sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.flatten().tolist() == [0.5, 0, 0.5]


def test_nothing_pooled_has_no_gradient() -> None:
    hidden = torch.zeros(0, 4, requires_grad=True)
    pooled, _ = pool(hidden, torch.zeros(3, dtype=torch.int32), kind="mean")
    pooled.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.shape == (0, 4)


def test_the_registered_op_keeps_its_promises() -> None:
    hidden, cu_seqlens = ragged([2, 0, 3], 8, torch.float32)
    hidden = hidden.nan_to_num(0.5).requires_grad_()
    weight, bias, eps = layer_norm(8, bias=True)
    torch.library.opcheck(
        torch.ops.honed.pool.default, (hidden, cu_seqlens, "mean", True, weight, bias, eps)
    )


def test_compiles_whole_with_its_gradient() -> None:
    hidden, cu_seqlens = ragged([2, 0, 3], 8, torch.float32)
    run = partial(pool, kind="max", normalize=True)
    grads = []
    for call in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        states = hidden.nan_to_num(0.5).requires_grad_()
        pooled, _ = call(states, cu_seqlens)
        (pooled * torch.arange(8)).sum().backward()
        grads.append((pooled, states.grad))
    torch.testing.assert_close(grads[1], grads[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sum"}, "'sum', expected one of cls"),
        ({"hidden": torch.zeros(3, 4, dtype=torch.int32)}, "torch.int32"),
        ({"hidden": torch.zeros(3)}, "expected floats"),
        ({"hidden": torch.zeros(4, 3).T}, "call hidden.contiguous"),
        ({"hidden": torch.zeros(3, 0)}, "empty or not contiguous"),
        ({"cu_seqlens": torch.tensor([0, 3])}, "torch.int64"),
        ({"cu_seqlens": torch.zeros(0, dtype=torch.int32)}, r"\(0,\), expected int32"),
        ({"cu_seqlens": torch.zeros(4, dtype=torch.int32)[::2]}, "not contiguous"),
        ({"norm": (torch.ones(5), None, 0.0)}, r"weight is torch.float32 \(5,\)"),
        ({"norm": (torch.ones(4), torch.ones(4).half(), 0.0)}, "bias is torch.float16"),
        ({"norm": (torch.ones(4, device="meta"), None, 0.0)}, "'meta'"),
        ({"hidden": torch.zeros(3, 9000), "normalize": True}, "at most 8192"),
    ],
)
def test_refuses_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    fits = {
        "hidden": torch.zeros(3, 4),
        "cu_seqlens": torch.tensor([0, 3], dtype=torch.int32),
        "kind": "mean",
    }
    with pytest.raises(ValueError, match=message):
        pool(**(fits | change))
