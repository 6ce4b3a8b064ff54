"""Profiles of offered load: what is sent when, decided before anything is measured.

Open loops send what is due whether or not answers come back; a closed loop sends the next request
when an answer came. `parsed` reads the shapes that `honed bench --shape` takes.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from honed_loadtest.arrivals import Stretch, Times, poisson
from honed_loadtest.errors import BenchError


class ShapeError(BenchError):
    """A shape cannot be read; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Poisson arrivals whose rate changes from stretch to stretch."""

    stretches: tuple[Stretch, ...]

    @staticmethod
    def steady(per_s: float, seconds: float) -> "OpenLoop":
        """One rate all the time."""
        return OpenLoop((Stretch(per_s, seconds),))

    @property
    def seconds(self) -> float:
        """Length of what counts."""
        return sum(stretch.seconds for stretch in self.stretches)

    def arrivals(self, warm_s: float, seed: int) -> Times:
        """When requests are due, in seconds from where counting begins; negative in the warm-up."""
        warm_up = Stretch(self.stretches[0].per_s, warm_s)
        return poisson((warm_up, *self.stretches), seed) - warm_s


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals that were recorded elsewhere.

    Attributes:
        offsets: Seconds from the first, growing.
    """

    offsets: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Length of what counts, so that the last arrival is within it."""
        return self.offsets[-1] + 1e-3

    def arrivals(self, warm_s: float, seed: int) -> Times:
        """When requests are due; the warm-up is Poisson at the trace's mean rate."""
        mean_per_s = len(self.offsets) / self.seconds
        warm_up = poisson((Stretch(mean_per_s, warm_s),), seed) - warm_s
        return np.concatenate([warm_up, np.asarray(self.offsets)])


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many callers, each of which waits for its answer before it asks again."""

    concurrency: int
    seconds: float


Profile = OpenLoop | Trace | ClosedLoop

_ALLOWED = "step:100x10,200x10 | spike:100,400x2@10 | trace:FILE"


def parsed(shape: str, seconds: float, speed: float = 1.0) -> OpenLoop | Trace:
    """The profile that a shape describes.

    Args:
        shape: `step:RATExSECONDS,...`; `spike:BASE,PEAKxSECONDS@START`, at rate BASE for `seconds`
            but for the peak; or `trace:FILE`, a CSV file with a `time` column or one offset a line.
        seconds: Length of a spike's whole profile.
        speed: How many times faster than recorded a trace is replayed, > 0.

    Raises:
        ShapeError: It is none of these, or the file cannot be read.
    """
    kind, _, rest = shape.partition(":")
    try:
        match kind:
            case "step":
                return OpenLoop(tuple(_stretch(each) for each in rest.split(",")))
            case "spike":
                return _spike(rest, seconds)
            case "trace":
                return Trace(tuple(_offsets(Path(rest)) / speed))
    except OSError as error:
        raise ShapeError(f"the trace {rest} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise ShapeError(f"{shape!r} is not a load shape ({error}); say {_ALLOWED}") from error
    raise ShapeError(f"{shape!r} is not a load shape; say {_ALLOWED}")


def _stretch(text: str) -> Stretch:
    per_s, _, seconds = text.partition("x")
    stretch = Stretch(float(per_s), float(seconds))
    if stretch.per_s < 0 or not stretch.seconds > 0:
        raise ValueError(f"{text!r} needs a rate and a length over 0")
    return stretch


def _spike(text: str, seconds: float) -> OpenLoop:
    base, _, rest = text.partition(",")
    peak, _, at = rest.partition("@")
    high, before_s = _stretch(peak), float(at)
    after_s = seconds - before_s - high.seconds
    if before_s <= 0 or after_s <= 0:
        raise ValueError(f"the spike must lie within the {seconds:g} s")
    per_s = float(base)
    return OpenLoop((Stretch(per_s, before_s), high, Stretch(per_s, after_s)))


def _offsets(path: Path) -> Times:
    """Seconds from the first arrival of the file, in order."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if line.strip()]
    named = bool(lines) and "time" in lines[0]
    times = [row["time"] for row in csv.DictReader(lines)] if named else lines
    offsets = np.sort(np.asarray([float(time) for time in times], np.float64))
    if not offsets.size or not np.isfinite(offsets).all():
        raise ValueError("it holds no times")
    return cast(Times, offsets - offsets[0])
