"""Prometheus text over HTTP -> rates and quantiles between two scrapes, for `honed top`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from time import monotonic
from typing import TypeAlias

Labels: TypeAlias = Mapping[str, str]

_LINE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
# Names of models, methods and reasons hold nothing that would be escaped.
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one moment; `time_s` is monotonic."""

    time_s: float
    samples: tuple[Sample, ...]


def scrape(url: str, timeout_s: float) -> Scrape:
    """Reads a metrics endpoint.

    Raises:
        OSError: Nothing answers there.
        ValueError: Not an HTTP address.
    """
    from urllib.request import ProxyHandler, build_opener  # costs more than all of `honed --help`

    # A web proxy from the environment would also be asked for 127.0.0.1.
    with build_opener(ProxyHandler({})).open(url, timeout=timeout_s) as response:
        text = response.read().decode()
    return Scrape(monotonic(), tuple(_samples(text)))


def _samples(text: str) -> Iterator[Sample]:
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            labels = dict(_LABEL.findall(found["labels"] or ""))
            yield Sample(found["name"], labels, float(found["value"]))


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two scrapes; a counter that went back (a new server) counts as 0."""

    old: Scrape
    new: Scrape

    def rate(self, name: str, **labels: str) -> float:
        """Increase of a counter per second, over all series that have these labels."""
        return self._increase(name, labels) / (self.new.time_s - self.old.time_s)

    def gauge(self, name: str) -> float:
        """The newest value of a gauge."""
        return _sum(self.new, name, {})

    def mean(self, name: str) -> float | None:
        """Mean observation of a histogram, None without any."""
        count = self._increase(f"{name}_count", {})
        return self._increase(f"{name}_sum", {}) / count if count else None

    def quantile(self, name: str, q: float, **labels: str) -> float | None:
        """Quantile `q` of a histogram, linear within a bucket; None without any observation.

        Beyond the last finite bound nothing is known but that bound.
        """
        bounds = sorted(
            {s.labels["le"] for s in self.new.samples if s.name == f"{name}_bucket"}, key=float
        )
        counts = [self._increase(f"{name}_bucket", {**labels, "le": bound}) for bound in bounds]
        if not counts or not counts[-1]:
            return None
        rank = q * counts[-1]
        edges = pairwise([(0.0, 0.0), *zip(map(float, bounds), counts, strict=True)])
        for (low, below), (high, up_to) in edges:
            if up_to >= rank and up_to > below:
                share = (rank - below) / (up_to - below)
                return low if high == inf else low + share * (high - low)
        raise AssertionError("the last bucket holds all observations")

    def _increase(self, name: str, labels: Labels) -> float:
        return max(_sum(self.new, name, labels) - _sum(self.old, name, labels), 0.0)


def _sum(scrape: Scrape, name: str, labels: Labels) -> float:
    return sum(
        sample.value
        for sample in scrape.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
