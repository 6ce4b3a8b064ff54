"""The page of a result needs nothing else, is well-formed and holds the result itself."""

import json
import re
from html.parser import HTMLParser

import pytest

from honed_loadtest import histogram, page, summary

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Checks that elements close in order, and keeps the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.links = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


@pytest.fixture
def result():
    latency = histogram.described([n / 1000 for n in range(1, 101)])
    spread = {"median": 10.0, "low": 9.0, "high": 11.0}
    counts = {"requests": 110, "answered": 100, "refused": 10, "failed": 0}
    others = {
        "service": latency, "queued": latency, "computed": latency,
        "refusal": histogram.described([0.001]), "label_to_served": None,
    }  # fmt: skip
    arm = {
        "arm": "steady </script>", "server": "own server", "rounds": 1, "loop": "open",
        "offered_per_s": spread, "achieved_per_s": spread, "latency": latency, **counts, **others,
        "client_cores": spread,
    }  # fmt: skip
    second = {
        "second": 0,
        **counts,
        "finished": 99,
        "p50_ms": 50.0,
        "p99_ms": 99.0,
        "max_ms": 100.0,
    }
    run = {
        **arm, "round": 0, "timeline": [second, {**second, "second": 1, "p99_ms": 20.0}],
        "marks": [{"at_s": 0.5, "kind": "version", "model": "m", "version": 2, "position": 9}],
        "client": {"cpu_cores": 0.1, "late_p99_ms": 0.2}, "served": {"m": {"revisions": 3}},
        "invalid": ["too late"],
    }  # fmt: skip
    compared = {"first": spread, "second": spread, "ratio": 1.25, "low": 1.0, "high": 1.5}
    return {
        "schema_version": 1, "scenario": "steady", "command": "honed bench steady",
        "commit": "0" * 40, "date": "2026-01-01T00:00:00+00:00", "versions": {"python": "3.11"},
        "machine": {"cores": 2, "cpu": "some"}, "settings": {"seconds": 2.0},
        "servers": [{"name": "own server", "own": True, "peak_per_s": 50.0}],
        "invalid": True, "why": ["too late"], "arms": [arm], "runs": [run], "loadgen": None,
        "search": None,
        "comparisons": [
            {"first": "a", "second": "b", "rounds": 1, "percentiles": {"p50_ms": compared}}
        ],
    }  # fmt: skip


def test_the_page_is_well_formed_and_holds_the_result(result):
    found = Page(page.html(result))
    assert found.open == []
    data = json.loads(found.scripts[0])
    assert {key: data[key] for key in result} == result
    assert data["curves"][0][-1] == [100.0, pytest.approx(100, rel=2e-3)]


def test_the_page_needs_nothing_else(result):
    text = page.html(result)
    assert Page(text).links == []
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "{{" not in text


def test_the_summary_says_what_matters(result):
    arms, runs, compared = summary.tables(result)
    (row,) = arms.rows
    assert dict(zip(arms.columns, row, strict=True))["refused"] == "9.1%"
    assert "failed" not in arms.columns, "nothing failed"
    assert runs.rows[0][-1] == "no"
    assert compared.rows[0][-2:] == ["1.250", "1.000 to 1.500"]


def test_a_sparkline_shows_peaks_and_gaps():
    assert summary.sparkline([0.0, None, 7.0, 3.5]) == "▁ █▅"
    assert len(summary.sparkline([1.0] * 1000)) == 40
    assert summary.sparkline([]) == ""
