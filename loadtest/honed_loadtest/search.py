"""The highest rate whose p99 latency holds a bound, as MLPerf's server scenario defines it.

Arrivals are Poisson, latency counts from the scheduled time, each trial lasts the minimum duration,
and at most 1 % of the requests may take longer than the bound (Reddi et al., "MLPerf Inference
Benchmark", ISCA 2020). A trial that cannot hold it any more ends early.
"""

from collections.abc import Callable
from dataclasses import dataclass

from honed_loadtest.load import Outcome
from honed_loadtest.statistics import Latencies

# The search ends when what held and what did not are so near to each other.
_PRECISION = 0.03


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate that was tried.

    Attributes:
        server: On which.
        rate_per_s: What was offered.
        seconds: For how long.
        p99_ms: Of answers, None if there were none.
        failed: Requests that were not answered.
        client_cores: Cores that the load clients kept busy.
        held: Whether it held the bound.
    """

    server: str
    rate_per_s: float
    seconds: float
    p99_ms: float | None
    failed: int
    client_cores: float
    held: bool

    @staticmethod
    def of(server: str, rate_per_s: float, outcome: Outcome, bound_s: float) -> "Probe":
        """Judges a trial: requests that were not answered count as late."""
        samples, latencies_s = outcome.samples, outcome.latencies_s
        failed = len(samples) - latencies_s.size
        late = failed + int((latencies_s > bound_s).sum())
        p99_ms = Latencies.of(latencies_s).p99_ms if latencies_s.size else None
        held = latencies_s.size > 0 and late <= len(samples) // 100
        return Probe(
            server, round(rate_per_s, 2), round(outcome.seconds, 2), p99_ms, failed,
            round(outcome.cpu_share, 3), held,
        )  # fmt: skip


def highest(attempt: Callable[[float], Probe], most_per_s: float) -> list[Probe]:
    """Tries rates, halving the range between what held and what did not.

    Args:
        attempt: Tries a rate.
        most_per_s: A rate that is too high to be held, such as the peak of a closed loop.

    Returns:
        All that was tried, in order.
    """
    low, high, tried = 0.0, most_per_s, list[Probe]()
    while high - low > _PRECISION * most_per_s:
        probe = attempt((low + high) / 2)
        tried.append(probe)
        low, high = (probe.rate_per_s, high) if probe.held else (low, probe.rate_per_s)
    return tried
