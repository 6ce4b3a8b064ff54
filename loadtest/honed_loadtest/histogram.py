"""High dynamic range histograms: what results hold of many latencies, and can be merged from.

Three significant digits from a microsecond to an hour, in the encoding that HdrHistogram has in
every language (V2, compressed, base64), so that other tools read it too.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]
from numpy.typing import ArrayLike

_HIGHEST_US = 3_600_000_000
_DIGITS = 3
# Name in results -> percentile.
PERCENTILES = {
    "p50_ms": 50.0,
    "p90_ms": 90.0,
    "p95_ms": 95.0,
    "p99_ms": 99.0,
    "p99_9_ms": 99.9,
    "max_ms": 100.0,
}


def encoded(seconds: ArrayLike) -> str:
    """The histogram of samples in seconds, as text."""
    histogram = _empty()
    values, counts = np.unique(np.rint(np.asarray(seconds) * 1e6), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(min(max(int(value), 1), _HIGHEST_US), count)
    return _text(histogram)


def merged(texts: Iterable[str]) -> str:
    """The histogram of all samples of several histograms."""
    histogram = _empty()
    for text in texts:
        histogram.add(HdrHistogram.decode(text))
    return _text(histogram)


def percentiles(text: str) -> dict[str, float] | None:
    """Count, mean, percentiles and maximum in milliseconds; None if there are no samples."""
    histogram = HdrHistogram.decode(text)
    count = histogram.get_total_count()
    if not count:
        return None
    found = {"count": count, "mean_ms": round(histogram.get_mean_value() / 1e3, 3)}
    return found | {
        name: round(histogram.get_value_at_percentile(at) / 1e3, 3)
        for name, at in PERCENTILES.items()
    }


def described(seconds: ArrayLike) -> dict[str, Any] | None:
    """The percentiles of samples and their histogram, as results hold them; None without any."""
    text = encoded(seconds)
    found = percentiles(text)
    return None if found is None else found | {"histogram": text}


def curve(text: str) -> list[tuple[float, float]]:
    """(percentile, milliseconds) along the whole distribution, denser towards the tail."""
    histogram = HdrHistogram.decode(text)
    steps = histogram.get_percentile_iterator(5)
    return [(step.percentile_level_iterated_to, step.value_iterated_to / 1e3) for step in steps]


def _empty() -> Any:
    return HdrHistogram(1, _HIGHEST_US, _DIGITS)


def _text(histogram: Any) -> str:
    text: str = histogram.encode().decode("ascii")
    return text
