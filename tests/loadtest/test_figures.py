"""Every figure is measured end to end, quickly, with small texts and a small encoder."""

import pytest

from honed_loadtest import report
from honed_loadtest.figures.__main__ import main


@pytest.fixture
def small(tmp_path, small_encoder, small_data):
    small_data("banking77", 7)
    small_data("clinc150", 4)
    return tmp_path


def closed_loop_beside_the_encoder(found):
    assert found["closed"]["32"]["pooled"]["count"] > 20
    assert found["encoder_alone"]["per_s"]["median"] > 0


def every_label_is_timed(found):
    assert found["idle"]["answer"]["count"] == found["loaded"]["answer"]["count"] == 12
    assert found["idle"]["wait"]["count"] >= 1


def heads_are_swapped(found):
    assert found["offered"]["revisions_that_answered_per_s"]["median"] > 4
    assert found["learned"]["revisions_that_answered_per_s"]["median"] > 1


def every_stream_is_learned(found):
    assert {of["examples"] for of in found["streams"].values()} == {28}
    assert found["streams"]["banking77-class-incremental"]["classes"] == 7


def both_processes_are_weighed(found):
    assert found["memory"]["with the example"]["adapt"]["rss_mb"] > 10
    assert found["start_s"]["first, with the example"]["median"] > 0


HOLDS = {
    "closed": closed_loop_beside_the_encoder,
    "label_to_served": every_label_is_timed,
    "swap": heads_are_swapped,
    "stream": every_stream_is_learned,
    "footprint": both_processes_are_weighed,
}


def test_all_figures_are_measured_and_rendered(small, capsys):
    results, page = small / "results", small / "page.md"
    assert main(["--quick", "--output", str(results)]) == 0
    for name, holds in HOLDS.items():
        holds(report.Document.read(results / f"{name}.json").results)
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert main(["--render", "--output", str(results), "--page", str(page)]) == 0
    assert all(f"### {name}\n" in page.read_text() for name in HOLDS)
    assert "Closed loop" in capsys.readouterr().out


def test_missing_data_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HONED_DATA", str(tmp_path))
    assert main(["--quick", "--output", str(tmp_path), "closed"]) == 2
    assert "set HONED_DATA" in capsys.readouterr().err
