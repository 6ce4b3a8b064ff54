"""Two arms compared: medians and ranges of their rounds, and the ratio of each percentile.

The interval of a ratio is a bootstrap over rounds and, within them, over seconds: latencies of one
second depend on each other, so single requests must not be drawn (block bootstrap, Kuensch 1989).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_loadtest.load import Outcome
from honed_loadtest.statistics import spread

PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p99_9_ms": 99.9}
_DRAWS = 500
_INTERVAL = (2.5, 97.5)

Blocks = list[NDArray[np.float64]]
"""Latencies in milliseconds of each second of a round."""


def compared(
    names: tuple[str, str], pairs: Sequence[tuple[Outcome, Outcome]], seed: int = 0
) -> dict[str, Any]:
    """Compares the second arm with the first.

    Args:
        names: Of the arms.
        pairs: What both showed in each round, at least one.
        seed: Of the bootstrap.

    Returns:
        The comparison as `schema.json` has it; percentiles that had no answers are left out.
    """
    rounds = [(_blocks(first), _blocks(second)) for first, second in pairs]
    if not all(_pooled(blocks).size for pair in rounds for blocks in pair):
        return {"first": names[0], "second": names[1], "rounds": len(pairs), "percentiles": {}}
    ranks = list(PERCENTILES.values())
    each = np.array([[_percentiles(blocks, ranks) for blocks in pair] for pair in rounds])
    ratio = _ratio(rounds, ranks)
    rng = np.random.default_rng(seed)
    drawn = np.array([_ratio(_redrawn(rounds, rng), ranks) for _ in range(_DRAWS)])
    low, high = np.percentile(drawn, _INTERVAL, axis=0)
    found: Mapping[str, Any] = {
        name: {
            "first": spread(each[:, 0, n].tolist()),
            "second": spread(each[:, 1, n].tolist()),
            "ratio": round(float(ratio[n]), 4),
            "low": round(float(low[n]), 4),
            "high": round(float(high[n]), 4),
        }
        for n, name in enumerate(PERCENTILES)
    }
    return {"first": names[0], "second": names[1], "rounds": len(pairs), "percentiles": found}


def _blocks(outcome: Outcome) -> Blocks:
    second, latencies_ms = outcome.answers["due"].astype(int), outcome.latencies_s * 1e3
    blocks = (latencies_ms[second == n] for n in range(int(np.ceil(outcome.seconds))))
    return [block for block in blocks if block.size]


def _pooled(blocks: Blocks) -> NDArray[np.float64]:
    return np.concatenate(blocks) if blocks else np.empty(0)


def _percentiles(blocks: Blocks, ranks: list[float]) -> NDArray[np.float64]:
    found = np.percentile(_pooled(blocks), ranks, method="inverted_cdf")
    return np.asarray(found, np.float64)


def _ratio(rounds: Sequence[tuple[Blocks, Blocks]], ranks: list[float]) -> NDArray[np.float64]:
    first, second = (
        _percentiles([block for pair in rounds for block in pair[arm]], ranks) for arm in (0, 1)
    )
    return second / first


def _redrawn(
    rounds: Sequence[tuple[Blocks, Blocks]], rng: np.random.Generator
) -> list[tuple[Blocks, Blocks]]:
    """Rounds drawn with replacement, and within each the seconds of both arms."""

    def seconds(blocks: Blocks) -> Blocks:
        return [blocks[i] for i in rng.integers(len(blocks), size=len(blocks))]

    picks = [rounds[i] for i in rng.integers(len(rounds), size=len(rounds))]
    return [(seconds(first), seconds(second)) for first, second in picks]
