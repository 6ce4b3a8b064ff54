"""The series that a scraper reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from honed_server.edge.errors import NotReady
from honed_server.edge.metrics import Metrics


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name.startswith(name)
    }


def test_a_distribution_counts_each_value_in_its_bucket_and_all_above():
    metrics = Metrics()
    metrics.batch_texts.observe([1, 2, 2, 5])
    metrics.batch_texts.observe([1_000])
    found = series(metrics, "honed_batch_texts")
    buckets = {key[1]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert (buckets["1.0"], buckets["2.0"], buckets["4.0"], buckets["6.0"]) == (1, 3, 3, 4)
    assert (buckets["64.0"], buckets["+Inf"]) == (4, 5)
    assert found[("honed_batch_texts_count",)] == 5
    assert found[("honed_batch_texts_sum",)] == 1_010


def test_each_way_that_a_call_may_end_is_counted():
    metrics = Metrics()
    with metrics.rpc("Predict"):
        pass
    with metrics.rpc("Predict") as timer:
        timer.status = NotReady("teach it first").to_status()
    with pytest.raises(KeyboardInterrupt), metrics.rpc("Predict"):
        raise KeyboardInterrupt
    counted = {
        frozenset(key[1:]): value for key, value in series(metrics, "honed_requests_total").items()
    }
    codes = ("OK", "FAILED_PRECONDITION", "CANCELLED")
    assert counted == {frozenset(("Predict", code)): 1.0 for code in codes}
    assert series(metrics, "honed_request_seconds_count") == {
        ("honed_request_seconds_count", "Predict"): 3.0
    }
