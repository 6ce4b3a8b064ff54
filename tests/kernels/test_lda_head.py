"""The analytic head against the one that the instant lane computes, and from its sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from honed_adapt.instant.discriminant import Shrinkage, Solution, Sums, data_prior, solve
from honed_kernels.head import grouped_head
from honed_kernels.ops.grouped_head import grouped_head as on_tensors
from honed_kernels.ops.lda_scores import lda_head, moments, whiten, whiten_precision
from honed_kernels.ops.rank_update import rank_update
from honed_kernels.reference.lda_scores import discriminant
from honed_kernels.table import HeadTable


def learned(shrinkage: Shrinkage) -> tuple[Solution, tuple[Tensor, Tensor, Tensor]]:
    """90 weighted rows of 3 labels as the instant lane learns them, and for `rank_update`."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 90)
    vectors = (rng.standard_normal((90, 20)) + 2 * targets[:, None]).astype(np.float32)
    weights = rng.uniform(0.5, 2, 90)
    sums = Sums(20)
    sums.add([f"label {target}" for target in targets], vectors, weights)
    solution = solve(sums, sorted(sums.labels), data_prior(sums, shrinkage))
    return solution, (torch.tensor(vectors), torch.tensor(targets), torch.tensor(weights))


def assert_same_head(got: tuple[Tensor, Tensor], solution: Solution) -> None:
    for ours, theirs in zip(got, (solution.weight, solution.bias), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-9 * abs(theirs).max())


def test_is_the_head_of_the_instant_lane() -> None:
    solution, _ = learned(Shrinkage())
    means = torch.tensor(solution.mean)
    covariance = torch.tensor(solution.scatter / solution.freedom)
    ridge = 0.25 * covariance.diagonal().min().item()
    for whitening in (
        whiten(covariance),
        whiten(covariance - ridge * torch.eye(20).double(), ridge),
        whiten_precision(covariance.inverse()),
    ):
        assert_same_head(discriminant(means, whitening), solution)
        head = lda_head(means, whitening)
        np.testing.assert_allclose(head.weight, solution.weight.astype(np.float32), rtol=1e-5)


def test_the_sums_of_rank_update_give_the_same_head() -> None:
    solution, (vectors, targets, weights) = learned(Shrinkage(mean_rows=0, scatter_rows=0))
    gram, cross, counts = (torch.zeros(n, m).double() for n, m in ((20, 20), (20, 4), (3, 4)))
    rank_update(gram, cross, vectors, targets, weights, counts=counts)
    found = moments(gram, cross, counts)
    got = discriminant(found.means[:3], whiten(found.covariance))
    assert_same_head(got, solution)
    # Against NumPy's own weighted moments of all rows.
    mean = np.average(vectors.numpy(), axis=0, weights=weights.numpy())
    covariance = np.cov(vectors.numpy().astype(np.float64), rowvar=False, aweights=weights.numpy())
    np.testing.assert_allclose(found.background_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.background_covariance, covariance, rtol=1e-6, atol=1e-8)
    # The fourth label has no row.
    assert torch.equal(found.means[3], found.background_mean)


@pytest.mark.parametrize("prior", [None, [1.0, 2.0, 5.0]])
def test_the_head_gives_the_posterior(prior: list[float] | None) -> None:
    solution, (vectors, *_) = learned(Shrinkage())
    means, covariance = torch.tensor(solution.mean), torch.eye(20).double() * 30
    chances = None if prior is None else torch.tensor(prior).double()
    head = lda_head(means, whiten(covariance), chances)
    got = grouped_head(vectors[:5].numpy(), np.zeros(5, np.int64), [head], top_k=3)
    normal = MultivariateNormal(means, covariance)
    joint = normal.log_prob(vectors[:5, None].double()) + torch.tensor(prior or [1.0] * 3).log()
    want = joint.softmax(1).numpy()
    for row in range(5):
        found = got.probabilities[row][np.argsort(got.indices[row])]
        np.testing.assert_allclose(found, want[row], rtol=1e-4, atol=1e-6)
    # And as it is served on a GPU: from device memory, by the kernel.
    table = HeadTable(20, models=2, slots=2, max_labels=3, device="cpu", dtype=torch.float32)
    model = table.open()
    table.publish(model, table.put(head, version=1))
    scores = on_tensors(
        vectors[:5].contiguous(), torch.full((5,), model, dtype=torch.int32), table.bank, top_k=3
    )
    assert not scores.status.any()
    found = scores.probabilities.gather(1, scores.ids.argsort(1)).numpy()
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_refuses_what_does_not_fit() -> None:
    means, whitening = torch.zeros(2, 8).double(), torch.eye(8).double()
    with pytest.raises(ValueError, match="covariance with its ridge is not positive definite"):
        whiten(-torch.eye(3), 0.5)
    with pytest.raises(ValueError, match="the precision is not positive definite"):
        whiten_precision(torch.full((2, 2), float("nan")))
    with pytest.raises(ValueError, match=r"means are \(2, 7\), expected \(labels, 8\)"):
        lda_head(means[:, 1:], whitening)
    with pytest.raises(ValueError, match=r"whitening is torch\.float32"):
        lda_head(means, whitening.float())
    with pytest.raises(ValueError, match="not like means"):
        lda_head(means, whitening, torch.ones(3).double())
    with pytest.raises(ValueError, match="not finite"):
        lda_head(means, whitening, torch.zeros(2).double())
