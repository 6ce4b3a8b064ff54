"""The instant head against independent maths: textbook formulas, refits, a grid search."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from honed_adapt.encoders.store import default_source, import_encoder, open_encoder
from honed_adapt.instant.calibration import (
    HeldOut,
    Sample,
    TemperaturePrior,
    fit_temperature,
    leave_one_out,
)
from honed_adapt.instant.discriminant import (
    Floats,
    Prior,
    Shrinkage,
    Solution,
    Sums,
    data_prior,
    solve,
)
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import best_labels
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer
from shared_data import labelled_texts

HIDDEN = 12
NAMES = ["a", "b", "c", "d"]


class Data:
    """Rows of four overlapping Gaussian classes of uneven size and weight."""

    def __init__(self, sizes: tuple[int, ...] = (9, 5, 2, 7), seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        self.targets = np.repeat(np.arange(len(sizes)), sizes)
        centres = random.normal(size=(len(sizes), HIDDEN))
        noise = random.normal(size=(len(self.targets), HIDDEN)) * np.linspace(0.2, 1.5, HIDDEN)
        self.vectors = (centres[self.targets] + noise).astype(np.float32)
        self.weights = random.choice([0.25, 1.0, 3.0], len(self.targets))

    @property
    def labels(self) -> list[str]:
        return [NAMES[target] for target in self.targets]

    def sums(self) -> Sums:
        sums = Sums(HIDDEN)
        sums.add(self.labels, self.vectors, self.weights)
        return sums

    def without(self, row: int) -> Sums:
        keep = np.arange(len(self.targets)) != row
        sums = Sums(HIDDEN)
        labels = [name for name, kept in zip(self.labels, keep, strict=True) if kept]
        sums.add(labels, self.vectors[keep], self.weights[keep])
        return sums

    def sample(self) -> Sample:
        return Sample(self.vectors, self.targets, self.weights)


def solved(sums: Sums, prior: Prior | None = None) -> Solution:
    return solve(sums, NAMES, prior or data_prior(sums, Shrinkage()))


def log_odds(solution: Solution, x: Floats) -> Floats:
    logits = x @ solution.weight.T + solution.bias
    return logits - logits[:, :1]


def test_logits_are_gaussian_log_odds_with_the_shrunk_moments() -> None:
    data = Data()
    x, w = data.vectors.astype(float), data.weights
    shrinkage = Shrinkage(mean_rows=2.0, scatter_rows=30.0, within=0.4)
    got = solved(data.sums(), data_prior(data.sums(), shrinkage))

    centre = np.average(x, axis=0, weights=w)
    variance = 0.4 * np.average((x**2).sum(1), weights=w) / HIDDEN
    scatter, freedom, means = np.eye(HIDDEN) * 30.0 * variance, 30.0, []
    for c in range(4):
        rows, weights = x[data.targets == c], w[data.targets == c]
        raw = np.average(rows, axis=0, weights=weights)
        scatter += (weights[:, None] * (rows - raw)).T @ (rows - raw)
        freedom += weights.sum() - (weights**2).sum() / weights.sum()
        means.append((weights @ rows + 2.0 * centre) / (weights.sum() + 2.0))
    offsets = x[:, None, :] - np.array(means)[None]
    inverse = np.linalg.inv(scatter / freedom)
    expected = -0.5 * np.einsum("rch,hg,rcg->rc", offsets, inverse, offsets)
    np.testing.assert_allclose(log_odds(got, x), expected - expected[:, :1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hidden", [64, 65, 300])
def test_long_vectors_are_solved_as_by_elimination(hidden: int) -> None:
    vectors = np.random.default_rng(hidden).normal(size=(80, hidden)).astype(np.float32)
    sums = Sums(hidden)
    sums.add(NAMES * 20, vectors, np.ones(80))
    got = solved(sums)
    offsets = got.mean - got.mean.mean(axis=0)
    expected = got.freedom * np.linalg.solve(got.scatter, offsets.T).T
    np.testing.assert_allclose(got.weight, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_with_one_row_a_class_it_is_the_nearest_mean() -> None:
    data = Data((1, 1, 1, 1))
    data.weights[:] = 1.0
    solution = solved(data.sums())
    head = solution.head(1.0)
    queries = np.random.default_rng(5).normal(size=(200, HIDDEN)).astype(np.float32)
    distance = ((queries[:, None] - solution.mean[None]) ** 2).sum(axis=2)
    answers = (queries @ head.weight.T + head.bias).argmax(axis=1)
    np.testing.assert_array_equal(answers, distance.argmin(axis=1))


def test_removing_is_the_opposite_of_adding() -> None:
    data, other = Data(), Data(seed=2)
    sums = data.sums()
    sums.add(["new"] * len(other.targets), other.vectors, other.weights)
    assert "new" in sums.labels
    for row in np.random.default_rng(3).permutation(len(other.targets)):
        sums.remove(["new"], other.vectors[[row]], other.weights[[row]])
    assert sums.labels == set(NAMES)
    fresh = solved(data.sums())
    np.testing.assert_allclose(solved(sums).weight, fresh.weight, rtol=0, atol=1e-9)


def test_what_was_wholly_forgotten_leaves_nothing() -> None:
    data = Data()
    sums = data.sums()
    sums.remove(data.labels, data.vectors, data.weights)
    assert not sums.labels
    assert not sums.scatter.any()


def test_rows_left_out_score_as_after_a_refit() -> None:
    data = Data()
    solution = solved(data.sums())
    got = leave_one_out(solution, data.sample())
    for row in range(len(data.targets)):
        refit = solved(data.without(row), solution.prior)
        expected = log_odds(refit, data.vectors[[row]].astype(float))[0]
        logits = got.logits[row] - got.logits[row, 0]
        np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)


def test_a_row_alone_in_its_class_is_not_scored() -> None:
    data = Data((4, 1, 3, 1))
    got = leave_one_out(solved(data.sums()), data.sample())
    assert set(got.targets.tolist()) == {0, 2}
    assert len(got.logits) == 7


def test_the_temperature_is_the_most_likely_one() -> None:
    data = Data()
    held_out = leave_one_out(solved(data.sums()), data.sample())
    prior = TemperaturePrior(temperature=3.0, rows=2.0)

    def loss(temperature: float) -> float:
        scaled = held_out.logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        chosen = scaled[np.arange(len(scaled)), held_out.targets]
        likelihood = held_out.weights @ (np.log(np.exp(scaled).sum(axis=1)) - chosen)
        return float(likelihood + prior.rows * (3.0 / temperature + np.log(temperature)))

    grid = np.geomspace(0.05, 1000.0, 20_001)
    best = grid[np.argmin([loss(temperature) for temperature in grid])]
    assert fit_temperature(held_out, prior) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 1e2, 1e6])
def test_the_temperature_follows_the_scale_of_the_logits_within_its_bounds(scale: float) -> None:
    held_out = leave_one_out(solved(Data().sums()), Data().sample())
    prior = TemperaturePrior(rows=1e-6)
    base = fit_temperature(held_out, prior)
    scaled = HeldOut(held_out.logits * scale, held_out.targets, held_out.weights)
    expected = min(max(base * scale, prior.lowest), prior.highest)
    assert fit_temperature(scaled, prior) == pytest.approx(expected, rel=0.02)


def test_without_scored_rows_the_prior_is_the_answer() -> None:
    none = HeldOut(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0))
    prior = TemperaturePrior(temperature=7.0)
    assert fit_temperature(none, prior) == pytest.approx(7.0)


def test_two_rows_do_not_make_it_certain() -> None:
    """Vectors of length 1 as alike as real sentences: the query is nearer to the first row."""
    vectors = np.zeros((3, 384), np.float32)
    vectors[:2, 0] = np.sqrt(0.3)
    vectors[[0, 1], [1, 2]] = np.sqrt(0.7)
    vectors[2] = 0.5 * vectors[0] + 0.15 * vectors[1]
    vectors[2, 3] = np.sqrt(1 - vectors[2] @ vectors[2])
    lane = Lane(384)
    lane.apply([Row(i, bytes([i]), NAMES[i], "", 1.0, vectors[i]) for i in range(2)])
    head = lane.head
    first, second = (head.weight @ vectors[2] + head.bias) / head.temperature
    assert 0.6 < 1 / (1 + np.exp(second - first)) < 0.995


Encode = Callable[[list[str]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    source = default_source()
    assert source is not None
    home = tmp_path_factory.mktemp("home")
    files = open_encoder(home, import_encoder(source, home))
    encoder, tokenizer = OnnxEncoder(files), Tokenizer(files)

    def run(texts: list[str]) -> NDArray[np.float32]:
        tokens = [row.ids for row in tokenizer.tokenise(texts)]
        parts = [encoder.encode(tokens[at : at + 8]) for at in range(0, len(tokens), 8)]
        return np.concatenate(parts)

    return run


@pytest.mark.long
@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("banking77", 0.90), ("clinc150", 0.925)])
def test_one_pass_over_real_texts_reaches_the_aim(name: str, least: float, encode: Encode) -> None:
    train = [row for row in labelled_texts(f"{name}/train.csv") if row[1] != "oos"]
    test = [row for row in labelled_texts(f"{name}/test.csv") if row[1] != "oos"]
    lane = Lane(384)
    vectors = encode([text for text, _ in train])
    for at, (text, label) in enumerate(train):
        lane.apply([Row(at, text.encode(), label, "", 1.0, vectors[at])])
    best = best_labels(lane.head, encode([text for text, _ in test]))
    right = [found == label for found, (_, label) in zip(best, test, strict=True)]
    assert np.mean(right) >= least
