"""The architectures that every kernel must fit, known by their limits; none is at hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """An architecture.

    Attributes:
        name: as its vendor writes it, such as "sm_90".
        backend: Triton's: "cuda" or "hip".
        arch: Triton's name for it.
        warp_size: threads of a warp (AMD: wavefront).
        shared_limit: bytes of shared memory (AMD: LDS) that one program may have. Vendor figures:
            CUDA programming guide, "Technical specifications per compute capability"; CDNA3 ISA.
    """

    name: str
    backend: str
    arch: int | str
    warp_size: int
    shared_limit: int


TARGETS = (
    Target("sm_80", "cuda", 80, 32, 166_912),  # A100
    Target("sm_86", "cuda", 86, 32, 101_376),  # A10, RTX 30
    Target("sm_89", "cuda", 89, 32, 101_376),  # L4, L40S, RTX 40
    Target("sm_90", "cuda", 90, 32, 232_448),  # H100, H200
    Target("sm_100", "cuda", 100, 32, 232_448),  # B200
    Target("sm_120", "cuda", 120, 32, 101_376),  # RTX 50
    Target("gfx942", "hip", "gfx942", 64, 65_536),  # MI300
)
