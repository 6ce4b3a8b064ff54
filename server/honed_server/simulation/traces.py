"""What the simulator replays: requests, drawn from a profile or read from a file."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from honed_server.serving.fairness import Priority

_DEADLINE_S = 10.0  # as the server's, for calls that send none


class TraceError(Exception):
    """A line of a trace is wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request.

    Attributes:
        at_s: When it comes, seconds from the start.
        tokens: Of each of its texts.
        deadline_s: Seconds that its caller waits.
        priority: Of the request.
        tenant: Whose it is.
    """

    at_s: float
    tokens: tuple[int, ...]
    deadline_s: float = _DEADLINE_S
    priority: Priority = Priority.INTERACTIVE
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A synthetic load: requests of one text at random times (Poisson).

    Attributes:
        rate_per_s: Requests a second.
        seconds: How long.
        deadline_s: Of each request.
        bulk_share: Part of the requests that is bulk.
        tenants: How many; the k-th asks 1/k as often as the first.
        seed: Of all that is drawn.
    """

    rate_per_s: float
    seconds: float
    deadline_s: float
    bulk_share: float = 0.0
    tenants: int = 1
    seed: int = 0


def drawn(profile: Profile, lengths: Sequence[int]) -> list[Arrival]:
    """The requests of a profile, in order of time.

    Args:
        profile: What to draw.
        lengths: Tokens of texts, to draw from.
    """
    rng = np.random.default_rng(profile.seed)
    count = int(rng.poisson(profile.rate_per_s * profile.seconds))
    weights = 1 / np.arange(1, profile.tenants + 1)
    times = np.sort(rng.uniform(0, profile.seconds, count)).tolist()
    sizes = rng.choice(np.array(lengths), count).tolist()
    bulk = (rng.random(count) < profile.bulk_share).tolist()
    tenants = rng.choice(profile.tenants, count, p=weights / weights.sum()).tolist()
    return [
        Arrival(
            times[i], (sizes[i],), profile.deadline_s,
            Priority.BULK if bulk[i] else Priority.INTERACTIVE, f"tenant-{tenants[i] + 1}",
        )
        for i in range(count)
    ]  # fmt: skip


def read_trace(lines: Iterable[str]) -> list[Arrival]:
    """The requests of a trace, in order of time.

    Args:
        lines: One JSON object each: `at_s` and `tokens` (a number, or a list of one a text), and
            if they differ from the default `deadline_s`, `priority` ("bulk") and `tenant`.

    Raises:
        TraceError: A line is not such an object.
    """
    arrivals = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            arrivals.append(_arrival(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TraceError(f"line {number} of the trace: {error!r}") from error
    if not arrivals:
        raise TraceError("the trace has no requests")
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def _arrival(fields: dict[str, Any]) -> Arrival:
    tokens = fields.pop("tokens")
    each = tuple(tokens) if isinstance(tokens, list) else (tokens,)
    if not each or not all(type(n) is int and n > 0 for n in each):
        raise ValueError("tokens must be positive whole numbers")
    arrival = Arrival(
        at_s=float(fields.pop("at_s")),
        tokens=each,
        deadline_s=float(fields.pop("deadline_s", _DEADLINE_S)),
        priority=Priority(fields.pop("priority", Priority.INTERACTIVE)),
        tenant=str(fields.pop("tenant", "")),
    )
    if fields:
        raise ValueError(f"unknown fields {sorted(fields)}")
    if not (0 <= arrival.at_s < inf and 0 < arrival.deadline_s < inf):
        raise ValueError("times must be finite, deadlines positive")
    return arrival
