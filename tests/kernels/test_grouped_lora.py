"""`grouped_lora` against its specification in float64, through the door and the interpreter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import assert_caught
from torch import Tensor

from honed_kernels.ops.grouped_lora import grouped_lora
from honed_kernels.reference.grouped_lora import grouped_lora as reference
from honed_kernels.triton_kernels import grouped_lora as kernels

NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    x: Tensor
    base_out: Tensor
    adapter_id: Tensor
    a: Tensor
    b: Tensor
    scale: Tensor

    def arguments(self) -> tuple[Tensor, ...]:
        return self.x, self.base_out, self.adapter_id, self.a, self.b, self.scale

    def to(self, dtype: torch.dtype) -> Case:
        x, base_out, adapter_id, *adapters = self.arguments()
        return Case(x.to(dtype), base_out.to(dtype), adapter_id, *[t.to(dtype) for t in adapters])


def surrounded(values: Tensor, before: int, around: float = NAN) -> Tensor:
    """The same values inside a larger tensor whose other numbers no one may read, or write."""
    sides = [before, 3] if values.ndim == 2 else [0, 0]
    shape = [values.shape[0] + 3, *values.shape[1:]]
    if values.ndim == 2:
        shape[1] += sum(sides)
    buffer = torch.full(shape, around, dtype=values.dtype)
    inner = buffer[1 : 1 + len(values)]
    inner = inner[:, before : before + values.shape[1]] if values.ndim == 2 else inner
    inner.copy_(values)
    return inner


def make(
    ids: list[int],
    *,
    dtype: torch.dtype = torch.float32,
    in_features: int = 20,
    out_features: int = 24,
    rank: int = 16,
    slots: int = 3,
    base: torch.dtype | None = None,
) -> Case:
    random = torch.Generator().manual_seed(len(ids))

    def normal(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    return Case(
        surrounded(normal(len(ids), in_features), 5),
        surrounded(normal(len(ids), out_features, dtype=base or dtype), 8, around=12345),
        torch.tensor([7, *ids, 1], dtype=torch.int32)[1:-1],
        surrounded(normal(slots, rank, in_features), 0),
        surrounded(normal(slots, out_features, rank), 0),
        torch.tensor([NAN, *[0.5 + slot for slot in range(slots)], NAN])[1:-1],
    )


def assert_as_exact_as_pytorch(case: Case, got: Tensor) -> None:
    """Our error is at most twice PyTorch's in the same dtype, plus 2 of its rounding steps."""
    want = reference(*case.to(torch.float64).arguments())
    x, plain, ids, a, b, scale = case.arguments()
    plain = plain.clone()
    for token, slot in enumerate(ids.tolist()):
        if 0 <= slot < len(a):
            plain[token] += scale[slot].to(x.dtype) * ((x[token] @ a[slot].T) @ b[slot].T)
    assert got.dtype == case.base_out.dtype
    allowed = 2 * (plain - want).abs().max() + 2 * torch.finfo(got.dtype).eps * want.abs().max()
    assert (got - want).abs().max() <= allowed


# Tiles of 16 tokens: one adapter, all, none with a number that is no slot, and a last one of 3.
IDS = [1] * 16 + [0, 2, 1, -1] * 4 + [-1, 3] * 8 + [2, -7, 0]


@pytest.mark.parametrize(
    ("dtype", "rank", "in_features", "out_features"),
    [
        (torch.float32, 16, 33, 65),  # a second step of depth and block of columns, both not full
        (torch.float32, 64, 32, 32),  # four chunks of ranks
        (torch.float16, 16, 64, 128),  # exact tiles
        (torch.bfloat16, 32, 65, 129),  # one more than a tile each way; widened
        (torch.bfloat16, 64, 7, 1),  # less than a tile
    ],
)
def test_agrees_with_the_reference(
    dtype: torch.dtype, rank: int, in_features: int, out_features: int
) -> None:
    case = make(IDS, dtype=dtype, rank=rank, in_features=in_features, out_features=out_features)
    before = case.base_out.clone()
    got = grouped_lora(*case.arguments())
    assert torch.equal(case.base_out, before)
    assert_as_exact_as_pytorch(case, got)
    plain = [token for token, slot in enumerate(IDS) if not 0 <= slot < 3]
    assert torch.equal(got[plain], before[plain])


def test_no_bit_depends_on_how_columns_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make(IDS[:32], out_features=65)
    apart = grouped_lora(*case.arguments())
    monkeypatch.setattr(kernels, "_PROGRAMS", 1)
    assert torch.equal(grouped_lora(*case.arguments()), apart)


def test_adds_in_place_to_columns_of_a_wider_tensor_and_nowhere_else() -> None:
    case = make(IDS, dtype=torch.float16)
    wide = case.base_out._base
    assert wide is not None
    elsewhere = wide == 12345
    want = grouped_lora(*case.arguments())
    assert grouped_lora(*case.arguments(), in_place=True) is case.base_out
    assert torch.equal(case.base_out, want)
    assert wide[elsewhere].eq(12345).all()


def test_keeps_a_float32_layer_beside_half_precision_adapters() -> None:
    case = make(IDS, dtype=torch.bfloat16, base=torch.float32)
    assert_as_exact_as_pytorch(case, grouped_lora(*case.arguments()))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy tells of what is not finite
def test_a_broken_adapter_or_token_touches_no_other() -> None:
    sound = make(IDS)
    broken = make(IDS)
    broken.a[1, 3], broken.b[1, 2], broken.x[17] = NAN, float("inf"), NAN
    broken.base_out[19] = NAN
    got, want = (grouped_lora(*case.arguments()) for case in (broken, sound))
    others = [token for token, slot in enumerate(IDS) if slot != 1 and token not in (17, 19)]
    assert torch.equal(got[others], want[others])
    assert got[[0, 17, 18, 19]].isnan().any(1).all()


def test_an_adapter_of_a_lower_rank_is_padded_with_zeros() -> None:
    case = make([0, 1, 2])
    low = replace(case, a=case.a[:, :5].contiguous(), b=case.b[:, :, :5].contiguous())
    case.a[:, 5:] = 0
    case.b[:, :, 5:] = 0
    want = reference(*low.to(torch.float64).arguments())
    torch.testing.assert_close(grouped_lora(*case.arguments()).double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("ids", "slots"), [([], 3), ([0, 1], 0), ([-1] * 17, 2)])
def test_nothing_to_add(ids: list[int], slots: int) -> None:
    case = make(ids, slots=slots)
    assert torch.equal(grouped_lora(*case.arguments()), case.base_out)


@settings(max_examples=4, derandomize=True, deadline=None, database=None)
@given(
    ids=st.lists(st.integers(-1, 2), min_size=17, max_size=36),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_no_bit_depends_on_the_batch(ids: list[int], order: Any, dtype: torch.dtype) -> None:
    case = make(ids, dtype=dtype)
    together = grouped_lora(*case.arguments())
    places = list(range(len(ids)))
    order.shuffle(places)
    for part in (places, places[:1], places[1:4]):
        some = replace(
            case,
            x=case.x[part],
            base_out=case.base_out[part],
            adapter_id=case.adapter_id[part],
        )
        assert torch.equal(grouped_lora(*some.arguments()), together[part])


def check(module: ModuleType, *, dtype: torch.dtype = torch.float32) -> None:
    case = make([0, 1, 2, 3, -1] * 4, dtype=dtype, rank=32)
    out = surrounded(torch.full_like(case.base_out, NAN), 4, around=12345)
    assert out._base is not None
    elsewhere = out._base == 12345
    x, base_out, *adapters = case.arguments()
    module.launch(x, base_out, out, *adapters)
    assert out._base[elsewhere].eq(12345).all()
    assert_as_exact_as_pytorch(case, out)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mine = adapter == slot", "mine = adapter >= 0"),
        ("(adapter < 0))[:, None]", "(adapter < -1))[:, None]"),
        ("if rank == 0 else (out, out_stride)", "if True else (out, out_stride)"),
        ("adapter < slots, adapter, -1", "adapter <= slots, adapter, -1"),
        ("adapter < slot, adapter, -1", "adapter < slot - 1, adapter, -1"),
        ("start + depth < in_features", "start + depth <= in_features"),
        ("slot.to(tl.int64) * out_features * RANK", "slot.to(tl.int64) * out_features"),
        ("strength * high", "high"),
        ("RANK + rank) * in_features", "RANK) * in_features"),
    ],
)
def test_a_broken_kernel_is_caught(old: str, new: str, tmp_path: Path) -> None:
    assert_caught(kernels, old, new, check, tmp_path)


def test_a_cpu_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    case = make(IDS, dtype=torch.bfloat16)
    want = reference(*case.arguments())
    assert torch.equal(grouped_lora(*case.arguments(), in_place=True), want)
    assert torch.equal(case.base_out, want)


def test_the_registered_op_keeps_its_promises() -> None:
    for op in (torch.ops.honed.grouped_lora, torch.ops.honed.grouped_lora_):
        torch.library.opcheck(op.default, make([0, -1, 2]).arguments())


@pytest.mark.parametrize("in_place", [False, True])
def test_compiles_whole(in_place: bool) -> None:
    run = partial(grouped_lora, in_place=in_place)
    got = torch.compile(run, fullgraph=True, backend="aot_eager")(*make([0, -1, 2]).arguments())
    assert torch.equal(got, grouped_lora(*make([0, -1, 2]).arguments()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 20, dtype=torch.int32)}, "x is torch.int32"),
        ({"x": torch.zeros(20)}, "two dimensions"),
        ({"x": torch.zeros(20, 2).T}, "token of x or base_out is not contiguous"),
        ({"base_out": torch.zeros(2, 24).half()}, "base_out is torch.float16"),
        ({"base_out": torch.zeros(24).expand(2, 24)}, "share memory"),
        (
            {"adapter_id": torch.zeros(2)},
            r"adapter_id is torch.float32 \(2,\), expected torch.int32",
        ),
        ({"adapter_id": torch.zeros(4, dtype=torch.int32)[::2]}, "must be contiguous"),
        ({"a": torch.zeros(3, 8, 20), "b": torch.zeros(3, 24, 8)}, "rank is 8, expected one of"),
        ({"b": torch.zeros(3, 16, 24)}, r"b is torch.float32 \(3, 16, 24\)"),
        (
            {"scale": torch.zeros(2)},
            r"scale is torch.float32 \(2,\), expected torch.float32 \(3,\)",
        ),
        ({"scale": torch.zeros(3, device="meta")}, "scale is on meta"),
        ({"a": torch.zeros(3, 16, 20, requires_grad=True)}, "no gradient"),
    ],
)
def test_refuses_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouped_lora(*replace(make([0, 1]), **change).arguments())
