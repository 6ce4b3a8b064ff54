from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from safetensors.torch import save_file

from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.tensors import TensorFile, canonical, read_spans

NUMBERS = torch.randn(1100, 1000, generator=torch.Generator().manual_seed(0))  # above one block


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_are_widened_exactly(path: Path, dtype: torch.dtype) -> None:
    save_file({"x": NUMBERS.to(dtype)}, path)
    read = TensorFile(path, "").array("x", (1100, 1000))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, NUMBERS.to(dtype).float().numpy())


def test_the_canonical_form_keeps_what_is_asked_for_and_nothing_else(path: Path) -> None:
    save_file({"b": NUMBERS, "a": NUMBERS[0].clone(), "left": NUMBERS[1].clone()}, path, {"x": "y"})
    content = b"".join(canonical(TensorFile(path, ""), {"b": (1100, 1000), "a": (1000,)}))
    tensors = load(content)
    assert set(tensors) == {"a", "b"}
    np.testing.assert_array_equal(tensors["b"], NUMBERS.numpy())
    assert b"left" not in content
    assert b"metadata" not in content


def test_equal_tensors_are_equal_bytes_however_they_were_saved(path: Path, tmp_path: Path) -> None:
    half = NUMBERS[0].half()
    save_file({"bert.LayerNorm.gamma": half.float(), "head": half}, path, {"format": "pt"})
    save_file({"LayerNorm.weight": half}, tmp_path / "other")
    wanted = {"LayerNorm.weight": (1000,)}
    one, other = (
        b"".join(canonical(TensorFile(p, "bert."), wanted)) for p in (path, tmp_path / "other")
    )
    assert one == other


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (NUMBERS[0].to(torch.int8), "x is I8.*unquantised"),
        (NUMBERS[0].to(torch.float8_e4m3fn), "x is F8_E4M3.*unquantised"),
        (NUMBERS[0].double(), "x is F64"),
        (NUMBERS[0, :999].clone(), r"x has shape \(999,\); config.json says \(1000,\)"),
        (torch.full((1000,), torch.nan), "x holds NaN or infinity"),
        (torch.full((1000,), -torch.inf, dtype=torch.bfloat16), "x holds NaN or infinity"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(
    path: Path, tensor: torch.Tensor, reason: str
) -> None:
    save_file({"x": tensor}, path)
    with pytest.raises(EncoderUnsupported, match=rf"model\.safetensors: {reason}"):
        TensorFile(path, "").array("x", (1000,))


def test_a_missing_tensor_is_refused_by_name(path: Path) -> None:
    save_file({"x": NUMBERS[0].clone()}, path)
    with pytest.raises(EncoderUnsupported, match=r"model\.safetensors lacks the tensor y"):
        TensorFile(path, "").array("y", (1000,))


def test_a_file_that_is_cut_is_refused_before_and_while_it_is_read(path: Path) -> None:
    save_file({"x": NUMBERS}, path)
    tensors = TensorFile(path, "")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(EncoderUnsupported, match="changed while it was being read"):
        tensors.array("x", (1100, 1000))
    with pytest.raises(EncoderUnsupported, match="not a sound safetensors file"):
        read_spans(path)
