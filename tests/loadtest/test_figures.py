"""Every figure is measured end to end, quickly, with small texts and a small encoder."""

import pytest
from swap_oracle import make_encoder

from honed_loadtest import figures, report


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small data sets, and an encoder of one layer that the servers take as their default."""
    for name, classes in (("banking77", 7), ("clinc150", 4)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for part in ("train", "test"):
            rows = (f"{'word ' * (n + 1)},label {n % classes}\n" for n in range(28))
            (folder / f"{part}.csv").write_text("text,label\n" + "".join(rows))
    make_encoder(tmp_path, tmp_path, 0)
    monkeypatch.setenv("HONED_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HONED_ENCODER", str(tmp_path / "encoder-0"))
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
    assert figures.main(["--quick", "--output", str(results)]) == 0
    for name, holds in HOLDS.items():
        holds(report.Document.read(results / f"{name}.json").results)
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert figures.main(["--render", "--output", str(results), "--page", str(page)]) == 0
    assert all(f"### {name}\n" in page.read_text() for name in HOLDS)
    assert "Closed loop" in capsys.readouterr().out


def test_missing_data_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HONED_DATA", str(tmp_path))
    assert figures.main(["--quick", "--output", str(tmp_path), "closed"]) == 2
    assert "set HONED_DATA" in capsys.readouterr().err
