"""Random features: the same for ever, nested, and as good as the kernel that they estimate."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from honed_adapt.head import MAX_FEATURES, Features
from honed_adapt.instant.features import SEED, fourier, projection


def unit(rows: int, hidden: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, hidden))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def test_the_projection_is_the_same_for_ever() -> None:
    """Heads on disk rely on it: if this fails, saved models answer something else."""
    made = projection(24)
    digest = hashlib.sha256(made.matrix.tobytes() + made.phase.tobytes()).hexdigest()
    assert made.matrix.shape == (24, MAX_FEATURES)
    assert digest.startswith("299f2698481a9fc1")
    assert not np.array_equal(projection(24, SEED + 1).matrix, made.matrix)
    with pytest.raises(ValueError, match="read-only"):
        made.matrix[0, 0] = 1


def test_columns_of_a_block_are_orthogonal_and_as_long_as_normal_ones() -> None:
    matrix = projection(64).matrix.astype(np.float64)
    products = matrix[:, :64].T @ matrix[:, :64]
    lengths = np.diag(products)
    np.testing.assert_allclose(products - np.diag(lengths), 0, atol=0.02)
    assert lengths.mean() == pytest.approx(64, rel=0.1)
    assert 5 < lengths.std() < 20  # of chi-square with 64 degrees of freedom: 11.3


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_inner_products_estimate_the_gaussian_kernel(width: float) -> None:
    vectors = unit(40, 32)
    found = fourier(vectors, Features(MAX_FEATURES, width, SEED))
    apart = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found @ found.T, np.exp(-apart / (2 * width**2)), atol=0.08)


def test_fewer_features_are_the_first_ones_at_another_scale() -> None:
    vectors = unit(5, 16)
    few, many = (fourier(vectors, Features(count, 0.7, SEED)) for count in (100, 400))
    np.testing.assert_allclose(few / 2, many[:, :100], atol=1e-12)
