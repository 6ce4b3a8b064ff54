"""Heads with random Fourier features: against the specification, and to the bit in any company."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from honed_kernels.fourier import GRID, Fourier, Projection, read
from honed_kernels.head import HeadNotFinite, HeadWeights, grouped_head
from honed_kernels.reference import heads as reference

HIDDEN, MOST = 384, 1_024
RNG = np.random.default_rng(11)


def projected(hidden: int, features: int, seed: int = 0) -> Projection:
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((hidden, features)).clip(-7.9, 7.9) / GRID
    return Projection(np.rint(steps) * GRID, rng.uniform(0, 6.28, features))


SHARED, OTHER = projected(HIDDEN, MOST), projected(HIDDEN, 64, seed=1)


def head(labels: int, features: Fourier | None = None) -> HeadWeights:
    rng = np.random.default_rng(labels)
    columns = HIDDEN + (features.count if features else 0)
    weight = rng.standard_normal((labels, columns)).astype(np.float32) * 4
    return HeadWeights(weight, rng.standard_normal(labels).astype(np.float32), 0.8, features)


HEADS = [
    head(77, Fourier(SHARED, MOST, 0.5)),  # as learned from much feedback
    head(77, Fourier(SHARED, 256, 2.0)),  # another width and a prefix of the same projection
    head(77),  # none, beside them in one group
    head(5, Fourier(SHARED, 1, 0.01)),  # the least; angles of hundreds
    head(151, Fourier(OTHER, 33, 1.0)),  # another projection; no multiple of a SIMD lane
]


def vectors(rows: int) -> NDArray[np.float32]:
    made = RNG.standard_normal((rows, HIDDEN)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_agrees_with_the_reference_in_float64() -> None:
    pooled, head_id = vectors(40), np.arange(40) % len(HEADS)
    got = grouped_head(pooled, head_id, HEADS, top_k=3, logits=True)
    want = reference.grouped_head(
        torch.tensor(pooled, dtype=torch.float64),
        torch.tensor(head_id),
        HEADS,
        top_k=3,
        logits=True,
    )
    assert got.logits is not None
    assert want.logits is not None
    for row in range(40):
        np.testing.assert_allclose(got.logits[row], want.logits[row], atol=2e-4, rtol=0)
        np.testing.assert_array_equal(got.indices[row], want.indices[row])
        np.testing.assert_allclose(
            got.probabilities[row], want.probabilities[row], atol=1e-4, rtol=0
        )


def test_logits_are_the_same_to_the_bit_in_any_company() -> None:
    pooled, head_id = vectors(33), RNG.integers(0, len(HEADS), 33)
    alone = [
        grouped_head(pooled[row : row + 1], head_id[row : row + 1], HEADS, logits=True)
        for row in range(33)
    ]
    for size in (2, 7, 16, 17, 33):
        got = grouped_head(pooled[:size], head_id[:size], HEADS, logits=True)
        assert got.logits is not None
        for row in range(size):
            (logits,) = alone[row].logits or []
            np.testing.assert_array_equal(got.logits[row], logits)
            assert got.energy[row] == alone[row].energy[0]


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e-6, 3e-39])
@pytest.mark.parametrize("hidden", [1, 33, 384, 1_024])
def test_the_projection_is_summed_without_rounding(hidden: int, scale: float) -> None:
    """So in any order: here each way to multiply sums in another."""
    shared = projected(hidden, 48)
    pooled = (RNG.standard_normal((5, hidden)) * scale).astype(np.float32)
    together = read(pooled, [Fourier(shared, 48, 1.0)] * 5)
    backwards = Projection(np.ascontiguousarray(shared.matrix[::-1]), shared.phase)
    for row, inputs in enumerate(together):
        (turned,) = read(pooled[row : row + 1, ::-1].copy(), [Fourier(backwards, 48, 1.0)])
        np.testing.assert_array_equal(inputs[hidden:], turned[hidden:])
        np.testing.assert_array_equal(inputs[:hidden], pooled[row])
        exact = np.cos(pooled[row].astype(np.float64) @ shared.matrix + shared.phase)
        np.testing.assert_allclose(
            inputs[hidden:], exact * np.sqrt(2 / 48), atol=1e-6 * max(1.0, scale), rtol=0
        )


def test_energy_is_low_for_what_a_head_knows_well() -> None:
    weight = np.array([[5, 0], [0, 5]], np.float32)
    known = HeadWeights(weight, np.zeros(2, np.float32), 2.0)
    pooled = np.array([[1, 0], [0, 0]], np.float32)
    energy = grouped_head(pooled, np.zeros(2, np.int64), [known]).energy
    expected = [-2 * np.log(np.exp(2.5) + 1), -2 * np.log(2)]
    np.testing.assert_allclose(energy, expected, rtol=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_broken_vector_is_reported(poison: float) -> None:
    pooled = vectors(2)
    pooled[1, 3] = poison
    with pytest.raises(HeadNotFinite):
        grouped_head(pooled, np.zeros(2, np.int64), HEADS)


def test_another_processor_gives_the_same_features() -> None:
    """OpenBLAS would sum in another order there."""
    code = (
        "import hashlib, numpy as np; from honed_kernels.fourier import *;"
        "matrix = np.rint(np.random.default_rng(0).standard_normal((384, 512)) / GRID) * GRID;"
        "pooled = np.random.default_rng(1).standard_normal((3, 384)).astype(np.float32);"
        "features = Fourier(Projection(matrix, np.zeros(512)), 512, 1.0);"
        "made = np.stack(read(pooled, [features] * 3));"
        "print(hashlib.sha256(made.tobytes()).hexdigest())"
    )
    found = set[str]()
    for core in ("Nehalem", "Haswell"):
        environment = {**os.environ, "OPENBLAS_CORETYPE": core}
        command = [sys.executable, "-c", code]
        found.add(subprocess.run(command, env=environment, stdout=-1, check=True).stdout.decode())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"matrix": np.full((2, 3), GRID / 2)}, "no multiple"),
        ({"matrix": np.full((2, 3), 8.0)}, "no multiple"),
        ({"matrix": np.full((2, 3), np.nan)}, "no multiple"),
        ({"matrix": np.ones((2, 3), np.float32)}, "float64"),
        ({"matrix": np.ones((2, 4))}, "do not match"),
    ],
)
def test_a_projection_that_would_round_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Projection(**{"matrix": np.ones((2, 3)), "phase": np.zeros(3), **changes})


@pytest.mark.parametrize(("count", "width"), [(0, 1.0), (65, 1.0), (3, 0.0), (3, np.inf)])
def test_features_that_are_none_are_refused(count: int, width: float) -> None:
    with pytest.raises(ValueError, match=r"features|width"):
        Fourier(OTHER, count, width)


def test_a_head_takes_vectors_without_its_features() -> None:
    with pytest.raises(ValueError, match="takes 384 features, not 200"):
        grouped_head(np.ones((1, 200), np.float32), np.zeros(1, np.int64), HEADS[:1])
