"""One kernel for one architecture: compile it, and read what it needs off the binary.

Triton's own cache, keyed by source, options and Triton's version, makes a second run cheap.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from honed_kernels.aot.targets import TARGETS, Target
from honed_kernels.aot.variant import Variant

_MATRIX = {
    "tcgen05.mma": "tcgen05",
    "wgmma.mma_async": "wgmma",
    "mma.sync": "mma",
    "v_mfma": "mfma",
}


@dataclass(frozen=True, slots=True)
class Resources:
    """What one compiled kernel needs.

    Attributes:
        kernel: the variant's name.
        target: the architecture's name.
        registers: of a thread (AMD: vector registers).
        spilled: bytes of stack a thread (AMD: registers spilled).
        shared: bytes of shared memory (AMD: LDS) a program.
        matrix: family of its tensor-core instructions: "mma", "wgmma", "tcgen05", "mfma"; or "".
        size: bytes of the binary.
        error: why there is no binary; all else is 0 then.
    """

    kernel: str
    target: str
    registers: int = 0
    spilled: int = 0
    shared: int = 0
    matrix: str = ""
    size: int = 0
    error: str = ""


def compile_form(module: str, index: int, target: int) -> Resources:
    """Compile `variants()[index]` of a module for `TARGETS[target]`; all three cross processes."""
    variant = import_module(module).variants()[index]
    try:
        return _compile(variant, TARGETS[target])
    except Exception as error:  # noqa: BLE001 - whatever the compiler says belongs in the report
        message = f"{type(error).__name__}: {error}"
        return Resources(variant.name, TARGETS[target].name, error=message)


def _compile(variant: Variant, target: Target) -> Resources:
    arguments = list(variant.signature)
    if arguments != variant.kernel.arg_names:
        raise ValueError(
            f"the kernel takes {variant.kernel.arg_names}, the variant has {arguments}"
        )
    source = ASTSource(
        variant.kernel, dict(variant.signature), dict(variant.constants), alignment(variant)
    )
    built = triton.compile(
        source,
        target=GPUTarget(target.backend, target.arch, target.warp_size),
        options={"num_warps": variant.num_warps, "num_stages": variant.num_stages},
    )
    read = _nvidia if target.backend == "cuda" else _amd
    text = built.asm["ptx" if target.backend == "cuda" else "amdgcn"]
    registers, spilled, static = read(built)
    return Resources(
        variant.name,
        target.name,
        registers,
        spilled,
        built.metadata.shared + static,
        next((family for word, family in _MATRIX.items() if word in text), ""),
        len(built.kernel),
    )


def alignment(variant: Variant) -> dict[tuple[int], list[list[Any]]]:
    """What production knows of each argument, by its place; without it loads would be scalar."""
    aligned = [
        index
        for index, (parameter, kind) in enumerate(
            zip(variant.kernel.params, variant.signature.values(), strict=True)
        )
        if parameter.name in variant.divisible
        or (
            kind.startswith("*")
            and not parameter.do_not_specialize
            and not parameter.do_not_specialize_on_alignment
        )
    ]
    return {(index,): [["tt.divisibility", 16]] for index in aligned}


def _nvidia(built: Any) -> tuple[int, int, int]:
    binary = built.metadata_group[f"{built.name}.cubin"]
    usage = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "-res-usage", binary],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", usage)}
    return found["REG"], found["STACK"] + found["LOCAL"], found["SHARED"]


def _amd(built: Any) -> tuple[int, int, int]:
    found = {
        name: int(value)
        for name, value in re.findall(r"\.(\w+):\s+(\d+)$", built.asm["amdgcn"], re.M)
    }
    return found["vgpr_count"], found["vgpr_spill_count"] + found["sgpr_spill_count"], 0
