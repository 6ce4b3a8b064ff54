"""The specification of `rank_update` in plain PyTorch, in float64."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def rank_update(
    gram: Tensor,
    cross: Tensor,
    features: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    counts: Tensor | None,
) -> None:
    """Add rows to the sums in place as `ops.rank_update` says, arguments taken as valid."""
    rows = features.double()
    weights = rows.new_ones(len(rows)) if weights is None else weights
    rows = rows.masked_fill((weights == 0)[:, None], 0)
    evidence = weights[:, None] * _shares(targets, cross.shape[1])
    evidence = evidence.masked_fill((weights == 0)[:, None], 0)
    gram += rows.T @ (weights[:, None] * rows)
    cross += rows.T @ evidence
    if counts is not None:
        counts[0] += evidence.sign().sum(0)
        counts[1] += evidence.sum(0)
        counts[2] += (evidence * evidence.abs()).sum(0)


def _shares(targets: Tensor, labels: int) -> Tensor:
    """What each row says of each label; a number that is no label says nothing."""
    if targets.is_floating_point():
        return targets.double()
    known = (targets >= 0) & (targets < labels)
    return (F.one_hot(targets.where(known, 0), labels) * known[:, None]).double()
