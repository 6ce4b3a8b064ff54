"""The NumPy head against the specification, and its answers to hostile numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from honed_kernels.head import HeadNotFinite, HeadOutput, HeadWeights, grouped_head
from honed_kernels.reference import heads as reference

HIDDEN = 384  # MiniLM

# (num_labels of each head, rows), and why this shape is here.
SHAPES = [
    ([1], 1),  # the first label a new model learns, asked alone
    ([77], 32),  # Banking77 at the batch of the recorded figures
    ([151], 7),  # CLINC150 with out-of-scope; a batch that is no multiple of a SIMD lane
    ([20_000], 3),  # a catalogue: the top-k partition matters
    ([77, 151, 1, 2], 64),  # four models over one encoder share a batch
    ([5, 9, 3], 3),  # fewer rows than heads need: some head may have none
]


def random_heads(rng: np.random.Generator, counts: list[int], hidden: int) -> list[HeadWeights]:
    return [
        HeadWeights(
            rng.standard_normal((count, hidden)).astype(np.float32) * 4,
            rng.standard_normal(count).astype(np.float32),
            float(rng.uniform(0.5, 2)),
        )
        for count in counts
    ]


def unit_vectors(rng: np.random.Generator, rows: int, hidden: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, hidden))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def one_head(logits: list[float], temperature: float = 1.0, top_k: int = 1) -> HeadOutput:
    """Answer one zero vector: its logits are the bias, exactly."""
    head = HeadWeights(
        np.zeros((len(logits), 2), np.float32), np.array(logits, np.float32), temperature
    )
    return grouped_head(
        np.zeros((1, 2), np.float32), np.zeros(1, np.int64), [head], top_k=top_k, logits=True
    )


@pytest.mark.parametrize("top_k", [1, 2, 5, 100_000])  # argmax, partition, and all labels
@pytest.mark.parametrize(("counts", "rows"), SHAPES)
def test_agrees_with_the_reference_in_float64(counts: list[int], rows: int, top_k: int) -> None:
    rng = np.random.default_rng(rows)
    pooled, heads = unit_vectors(rng, rows, HIDDEN), random_heads(rng, counts, HIDDEN)
    head_id = rng.integers(0, len(heads), rows)
    got = grouped_head(pooled, head_id, heads, top_k=top_k, logits=True)
    want = reference.grouped_head(
        torch.tensor(pooled, dtype=torch.float64),
        torch.tensor(head_id),
        heads,
        top_k=top_k,
        logits=True,
    )
    assert got.logits is not None
    assert want.logits is not None
    for row in range(rows):
        probabilities = want.probabilities[row].numpy()
        np.testing.assert_allclose(got.logits[row], want.logits[row].numpy(), atol=2e-5)
        np.testing.assert_allclose(got.probabilities[row], probabilities, atol=1e-6, rtol=2e-5)
        assert got.indices[row].shape == probabilities.shape == got.probabilities[row].shape
        # Probabilities closer than float32 resolves may swap; no other label may.
        apart = np.abs(np.diff(probabilities)) > 1e-4 * probabilities[1:]
        firm = np.concatenate([[True], apart]) & np.concatenate([apart, [True]])
        firm[-1] = len(firm) == len(got.logits[row]) and firm[-1]
        np.testing.assert_array_equal(got.indices[row][firm], want.indices[row].numpy()[firm])


def test_every_row_has_its_own_top_k() -> None:
    rng = np.random.default_rng(0)
    pooled, heads = unit_vectors(rng, 4, HIDDEN), random_heads(rng, [77, 3], HIDDEN)
    head_id = np.array([0, 1, 0, 1])
    got = grouped_head(pooled, head_id, heads, top_k=[1, 9, 5, 2])
    assert [len(row) for row in got.indices] == [1, 3, 5, 2]
    assert got.logits is None
    deepest = grouped_head(pooled, head_id, heads, top_k=77)
    for row, full in zip(got.indices, deepest.indices, strict=True):
        np.testing.assert_array_equal(row, full[: len(row)])


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(5)
    rows = 200
    pooled, heads = unit_vectors(rng, rows, HIDDEN), random_heads(rng, [77, 151, 2], HIDDEN)
    head_id = rng.integers(0, 3, rows)
    together = grouped_head(pooled, head_id, heads, top_k=3)
    for row in range(rows):
        alone = grouped_head(pooled[row : row + 1], head_id[row : row + 1], heads, top_k=3)
        np.testing.assert_array_equal(alone.indices[0], together.indices[row])
        np.testing.assert_allclose(
            alone.probabilities[0], together.probabilities[row], atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("labels", [1, 2, 77, 150, 1_000, 5_000])
def test_logits_are_the_same_to_the_bit_in_any_company(labels: int) -> None:
    rng = np.random.default_rng(labels)
    pooled, heads = unit_vectors(rng, 33, HIDDEN), random_heads(rng, [labels, labels, 5], HIDDEN)
    head_id = rng.integers(0, 3, 33)
    alone = [
        grouped_head(pooled[row : row + 1], head_id[row : row + 1], heads, top_k=3, logits=True)
        for row in range(33)
    ]
    for size in (2, 7, 16, 17, 33):
        got = grouped_head(pooled[:size], head_id[:size], heads, top_k=3, logits=True)
        assert got.logits is not None
        for row in range(size):
            (logits,) = alone[row].logits or []
            np.testing.assert_array_equal(got.logits[row], logits)
            np.testing.assert_array_equal(got.probabilities[row], alone[row].probabilities[0])
            np.testing.assert_array_equal(got.indices[row], alone[row].indices[0])


@pytest.mark.parametrize(
    ("logits", "temperature", "best", "probability"),
    [
        ([1e4, -1e4], 1.0, 0, 1.0),  # exp(1e4) overflows unless shifted
        ([-1e4, -1e4, -1e4], 1.0, 0, 1 / 3),  # exp(-1e4) is 0: 0 / 0 unless shifted
        ([7.0], 1.0, 0, 1.0),  # one class
        ([3e38, -3e38, 0.0], 1.0, 0, 1.0),  # the spread itself overflows float32
        ([0.0, 1.0], 1e-300, 1, 1.0),  # a temperature that float32 rounds to zero
        ([0.0, 1e4], 1e300, 0, 0.5),  # one that flattens everything
        ([0.0, 0.0, 5.0, 5.0], 1e-3, 2, 0.5),  # tie at the top
    ],
)
def test_hostile_logits_give_finite_probabilities(
    logits: list[float], temperature: float, best: int, probability: float
) -> None:
    got = one_head(logits, temperature, top_k=len(logits))
    assert got.indices[0][0] == best
    assert got.probabilities[0][0] == pytest.approx(probability)
    assert np.isfinite(got.probabilities[0]).all()
    assert got.probabilities[0].sum() == pytest.approx(1)


@pytest.mark.parametrize("top_k", [1, 2, 3, 7, 40])
def test_equal_probabilities_come_in_label_order(top_k: int) -> None:
    # Two plateaus that a partition would cut anywhere, with underflown zeros behind them.
    logits = [0.0, 3.0] * 10 + [-1e4, -2e4] * 10
    want = [*range(1, 20, 2), *range(0, 20, 2), *range(20, 40)]
    assert one_head(logits, top_k=top_k).indices[0].tolist() == want[:top_k]


def test_logits_are_before_temperature() -> None:
    got = one_head([1.0, 2.0], temperature=10.0)
    assert got.logits is not None
    assert got.logits[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("poison", [np.nan, np.inf, 3e38])  # the last overflows in the product
def test_logits_that_are_not_finite_name_their_head(poison: float) -> None:
    rng = np.random.default_rng(1)
    sound, broken = random_heads(rng, [4, 4], 2)
    broken.weight[2] = poison
    with pytest.raises(HeadNotFinite, match="head 1") as caught:
        grouped_head(np.full((2, 2), 9, np.float32), np.array([0, 1]), [sound, broken])
    assert caught.value.head_id == 1


def test_no_rows_give_no_answers() -> None:
    got = grouped_head(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), [], logits=True)
    assert (got.indices, got.probabilities, got.logits) == ([], [], [])


@pytest.mark.parametrize(
    ("pooled", "head_id", "top_k", "message"),
    [
        (np.zeros((1, 2), np.float32), [1], 1, "has no labels"),
        (np.zeros((1, 2), np.float32), [2], 1, "outside 0 to 1"),
        (np.zeros((1, 2), np.float32), [-1], 1, "outside 0 to 1"),
        (np.zeros((1, 2), np.float32), [0], 0, "at least 1"),
        (np.zeros((1, 3), np.float32), [0], 1, "takes 2 features, not 3"),
        (np.zeros((2, 2), np.float32), [0], 1, "does not match"),
        (np.zeros((1, 2), np.float64), [0], 1, "float64"),
        (np.zeros((1, 2), np.float32), [0], [1, 1], "2 top_k do not match 1 rows"),
    ],
)
def test_refuses_what_does_not_fit(
    pooled: NDArray[np.float32], head_id: list[int], top_k: int | list[int], message: str
) -> None:
    heads = [
        HeadWeights(np.ones((3, 2), np.float32), np.ones(3, np.float32)),
        HeadWeights(np.zeros((0, 2), np.float32), np.zeros(0, np.float32)),
    ]
    with pytest.raises(ValueError, match=message):
        grouped_head(pooled, np.array(head_id), heads, top_k=top_k)


@pytest.mark.parametrize(
    ("weight", "bias", "temperature"),
    [
        (np.ones((3, 2), np.float32), np.ones(2, np.float32), 1.0),
        (np.ones(3, np.float32), np.ones(3, np.float32), 1.0),
        (np.ones((3, 2), np.float64), np.ones(3, np.float32), 1.0),
        (np.ones((3, 2), np.float32), np.ones(3, np.float32), 0.0),
        (np.ones((3, 2), np.float32), np.ones(3, np.float32), float("nan")),
    ],
)
def test_head_weights_are_checked_once_at_construction(
    weight: NDArray[np.float32], bias: NDArray[np.float32], temperature: float
) -> None:
    with pytest.raises(ValueError, match=r"match|float32|temperature"):
        HeadWeights(weight, bias, temperature)
