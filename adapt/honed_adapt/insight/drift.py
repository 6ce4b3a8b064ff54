"""Notices that errors or texts are not what they were.

It stands beside serving, in the server: `Errors` follows audited answers, `Shift` the vectors of
sampled texts, which need no labels. Pure: what happens on an alarm is decided elsewhere.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from honed_adapt.instant.discriminant import Floats


class Errors:
    """Adaptive windowing on right and wrong answers (ADWIN; Bifet and Gavalda 2007).

    The window is the longest recent stretch in which no two parts differ by more than chance: the
    bound is that of the paper's second algorithm. Every cut is looked at, as in its first one:
    audits are few, and an exponential histogram would save what is not spent.

    Only a rise of errors is an alarm. A fall, which is learning, shortens the window in silence.

    Args:
        confidence: the paper's delta; far fewer looks than that raise a false alarm (measured).
        longest: audits that the window holds at most.
    """

    def __init__(self, confidence: float = 0.002, longest: int = 10_000) -> None:
        self._confidence = confidence
        self._window: deque[bool] = deque(maxlen=longest)
        self._observed = 0

    @property
    def window(self) -> int:
        """Audits in the window."""
        return len(self._window)

    @property
    def error(self) -> float:
        """Share of wrong answers in the window; 0 while it is empty."""
        return sum(self._window) / len(self._window) if self._window else 0.0

    def observe(self, wrong: bool) -> bool:
        """Take in one audited answer; whether errors have become more frequent."""
        self._window.append(wrong)
        self._observed += 1
        rose = False
        while self._observed % _LOOK_EVERY == 0 and (cut := self._cut()) is not None:
            at, rise = cut
            rose |= rise > 0
            for _ in range(at):
                self._window.popleft()
        return rose

    def _cut(self) -> tuple[int, float] | None:
        """Length of the part to drop, and how much more errors there are behind it."""
        n = len(self._window)
        if n < 2 * _LEAST_PART:
            return None
        wrong = np.cumsum(np.fromiter(self._window, np.float64, n))
        older = np.arange(_LEAST_PART, n - _LEAST_PART + 1, dtype=np.float64)
        newer = n - older
        before = wrong[_LEAST_PART - 1 : n - _LEAST_PART]
        rise = (wrong[-1] - before) / newer - before / older
        mean = wrong[-1] / n
        nats = log(2 * log(n) / self._confidence)
        inverse = 1 / older + 1 / newer
        bound = np.sqrt(2 * inverse * mean * (1 - mean) * nats) + 2 / 3 * inverse * nats
        excess = np.abs(rise) - bound
        at = int(excess.argmax())
        return (int(older[at]), float(rise[at])) if excess[at] > 0 else None


_LEAST_PART = 5  # audits on either side of a cut
_LOOK_EVERY = 8  # audits between two looks at the window


@dataclass(frozen=True, slots=True)
class Windows:
    """Numbers of the test on texts.

    Attributes:
        dimensions: directions in which means are compared.
        reference: texts that the present is compared with.
        present: the latest texts, looked at whenever half of them are new.
        false_alarms: chance that one look raises a false alarm.
    """

    dimensions: int = 32
    reference: int = 1_000
    present: int = 500
    false_alarms: float = 0.001


class Shift:
    """Whether the mean of texts' vectors has moved, in a fixed random projection.

    The first texts stay the reference, with which the latest are compared. The statistic is
    Hotelling's T^2 (1931) of the two means, whose threshold under no change is known in closed
    form: (n - 2) d / (n - d - 1) F(d, n - d - 1). After an alarm what follows becomes the
    reference, so that one change is one alarm.

    Only projections are kept: a text cannot be guessed from them.

    Args:
        hidden: length of a vector.
        windows: numbers of the test.

    Attributes:
        excess: the statistic at the last look over its threshold; above 1 is an alarm.
    """

    def __init__(self, hidden: int, windows: Windows | None = None) -> None:
        self._numbers = windows or Windows()
        self._project = _directions(hidden, self._numbers.dimensions)
        self.excess = 0.0
        self._begin()

    @property
    def settled(self) -> bool:
        """Whether there is a reference to compare with."""
        return self._reference.count == self._numbers.reference

    def observe(self, vector: NDArray[np.float32]) -> bool:
        """Take in the vector of one text, (hidden,); whether texts have changed."""
        seen = vector @ self._project
        if not self.settled:
            self._reference.add(seen.astype(np.float64))
            return False
        self._present[self._filled] = seen
        self._filled += 1
        if self._filled < len(self._present):
            return False
        half = len(self._present) // 2
        self.excess = self._reference.hotelling(self._present.astype(np.float64)) / self._bound
        self._present[: self._filled - half] = self._present[half:]
        self._filled -= half
        if self.excess <= 1:
            return False
        self._begin()
        return True

    def _begin(self) -> None:
        dimensions = self._numbers.dimensions
        self._reference = _Moments(np.zeros(dimensions), np.zeros((dimensions, dimensions)))
        self._present = np.zeros((self._numbers.present, dimensions), np.float32)
        self._filled = 0

    @property
    def _bound(self) -> float:
        d, n = self._numbers.dimensions, self._numbers.reference + self._numbers.present
        rest = n - d - 1
        return (n - 2) * d / rest * _f_quantile(d, rest, self._numbers.false_alarms)


@dataclass(slots=True)
class _Moments:
    """Mean (d,) and scatter (d, d) of rows that come one by one (Welford, 1962)."""

    mean: Floats
    scatter: Floats
    count: int = 0

    def add(self, row: Floats) -> None:
        self.count += 1
        step = row - self.mean
        self.mean += step / self.count
        self.scatter += np.outer(step, row - self.mean)

    def hotelling(self, rows: Floats) -> float:
        """Hotelling's T^2 of these rows and others (rows, d), with their pooled covariance."""
        n, m = self.count, len(rows)
        step = self.mean - rows.mean(axis=0)
        pooled = (self.scatter + (m - 1) * np.cov(rows.T)) / (n + m - 2)
        # Texts that are all alike have no variance: any step is then infinitely unlikely.
        pooled.flat[:: len(pooled) + 1] += 1e-9
        return float(n * m / (n + m) * step @ np.linalg.solve(pooled, step))


@lru_cache(maxsize=8)
def _directions(hidden: int, dimensions: int) -> NDArray[np.float32]:
    """Fixed orthonormal directions, float32 (hidden, dimensions)."""
    drawn = np.random.default_rng(0x5EED).standard_normal((hidden, dimensions))
    return np.linalg.qr(drawn)[0].astype(np.float32)


@lru_cache(maxsize=8)
def _f_quantile(over: int, under: int, above: float) -> float:
    """What an F(over, under) variable exceeds with probability `above`.

    Paulson's approximation (1942): the cube root of F is nearly a ratio of normal variables; good
    to a percent for the hundreds of texts that are compared here.
    """
    z = NormalDist().inv_cdf(1 - above)
    a, b = 2 / (9 * over), 2 / (9 * under)
    q = (1 - b) ** 2 - b * z * z
    root = (1 - a) * (1 - b) + z * sqrt(a * (1 - b) ** 2 + b * (1 - a) ** 2 - a * b * z * z)
    return float((root / q) ** 3)
