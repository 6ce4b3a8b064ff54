"""Histograms keep three digits, come back from text, and merge to that of all samples."""

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from honed_loadtest import histogram

SAMPLES_S = np.random.default_rng(0).permutation(np.arange(1, 5001)) / 1000


def test_percentiles_are_those_of_the_samples_within_three_digits():
    found = histogram.described(SAMPLES_S)
    assert found["count"] == 5000
    assert found["mean_ms"] == pytest.approx(SAMPLES_S.mean() * 1e3, rel=2e-3)
    for name, at in histogram.PERCENTILES.items():
        exact = np.percentile(SAMPLES_S, at, method="inverted_cdf") * 1e3
        assert found[name] == pytest.approx(exact, rel=2e-3), name


def test_merged_histograms_are_the_histogram_of_all_samples():
    parts = [histogram.encoded(part) for part in np.array_split(SAMPLES_S, 3)]
    merged = histogram.merged([*parts, histogram.encoded([])])
    assert histogram.percentiles(merged) == histogram.percentiles(histogram.encoded(SAMPLES_S))


def test_the_text_is_what_other_tools_read():
    text = histogram.encoded([0.001, 0.002, 0.002])
    assert text.startswith("HISTFAAA"), "the cookie of the compressed V2 encoding"
    assert HdrHistogram.decode(text).get_total_count() == 3


def test_without_samples_there_is_nothing_to_describe():
    assert histogram.described([]) is None


def test_what_lies_outside_the_range_counts_at_its_ends():
    found = histogram.described([0.0, 1e5])
    assert (found["count"], found["p50_ms"]) == (2, 0.001)
    assert found["max_ms"] == pytest.approx(3.6e6, rel=2e-3)


def test_the_curve_goes_from_the_fastest_to_the_slowest():
    percents, values_ms = zip(*histogram.curve(histogram.encoded(SAMPLES_S)), strict=True)
    assert (percents[0], percents[-1]) == (0, 100)
    assert list(values_ms) == sorted(values_ms)
    assert values_ms[-1] == pytest.approx(SAMPLES_S.max() * 1e3, rel=2e-3)
