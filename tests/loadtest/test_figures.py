"""Every figure is measured end to end, quickly, with small texts and a small encoder."""

import importlib
import pkgutil

import pytest

from honed_loadtest import figures, report
from honed_loadtest.figures.__main__ import FIGURES, main


@pytest.fixture
def small(tmp_path, small_encoder, small_data):
    small_data("banking77", 7)
    small_data("clinc150", 4)
    small_data("medical_abstracts", 5)
    return tmp_path


def closed_loop_beside_the_encoder(found):
    assert found["closed"]["fp32"]["32"]["pooled"]["count"] > 20
    assert found["encoder_alone"]["roofline_per_s"]["median"] > 0
    assert 0 < found["closed"]["fp32"]["32"]["share_of_limit"]["median"] < 1


def texts_that_came_together_cost_less(found):
    assert found["calls"]["4"]["texts_per_s"]["median"] > 0
    assert found["calls"]["4"]["outside_ms_a_text"]["median"] > 0


def long_texts_are_encoded_both_ways(found):
    assert found["tokens_a_text"] == 30  # 28 words and the special tokens
    assert found["padded_over_packed"]["median"] > 0


def useful_answers_under_overload_are_counted(found):
    assert found["unary"]["offered_per_s"]["median"] > 5 * found["unary"]["peak_texts_per_s"]["low"]
    throttled = found["unary, clients that throttle as the SDK does"]
    # A machine with other work may answer none in time in a window of a third of a second.
    assert sum(of["useful_texts_per_s"]["median"] for of in (found["stream"], throttled)) > 0


def models_are_asked_at_random(found):
    assert found["models"] == 5
    assert found["mix_over_one"]["median"] > 0


def each_way_in_has_its_cost(found):
    assert set(found) == {"alone", "unary", "streamed", "batched"}
    assert found["batched"]["server_cpu_ms_a_text"]["median"] > 0


def every_label_is_timed(found):
    assert found["idle"]["answer"]["count"] == found["loaded"]["answer"]["count"] == 12
    assert found["idle"]["wait"]["count"] >= 1


def heads_are_swapped(found):
    assert found["heads"]["generations_that_answered_per_s"]["median"] > 4
    assert found["encoders"]["swap"]["count"] >= 1
    assert found["encoders"]["pss_mb_peak"] > 10


def learning_is_paced_beside_the_load(found):
    assert found["arms"]["training"]["trainer_cores"]["median"] > 0
    assert found["arms"]["both"]["label_to_served"]["count"] >= 1


def every_stream_is_learned(found):
    assert {of["examples"] for of in found["streams"].values()} == {28}
    assert found["streams"]["banking77-class-incremental"]["classes"] == 7


def both_processes_are_weighed(found):
    assert found["memory"]["fp32, after load"]["adapt"]["rss_mb"] > 10
    assert found["imports_ms"]["numpy"] > 0
    assert found["start_s"]["first, with the example"]["median"] > 0


def null_candidates_are_not_promoted(found):
    lives = found["lives"]
    assert {lives[of]["candidates_each"] for of in ("audited", "corrections_only")} == {200}
    assert lives["audited"]["restarts_each"] == lives["corrections_only"]["restarts_each"] == 10
    assert lives["audited"]["promoted"] <= 2
    assert lives["corrections_only"]["promoted"] == 0
    assert lives["misnamed"]["lives_with_one"] == lives["misnamed"]["lives"]
    assert {of["runs"] for of in (*found["gains"], *found["losses"])} == {2}


HOLDS = {
    "closed": closed_loop_beside_the_encoder,
    "batch_rpc": texts_that_came_together_cost_less,
    "long_texts": long_texts_are_encoded_both_ways,
    "overload": useful_answers_under_overload_are_counted,
    "many_models": models_are_asked_at_random,
    "front_end": each_way_in_has_its_cost,
    "label_to_served": every_label_is_timed,
    "swap": heads_are_swapped,
    "beside": learning_is_paced_beside_the_load,
    "stream": every_stream_is_learned,
    "footprint": both_processes_are_weighed,
    "gate": null_candidates_are_not_promoted,
}


@pytest.mark.timeout(600)  # a minute's work of several processes
def test_all_figures_are_measured_and_rendered(small, capsys):
    results, page = small / "results", small / "page.md"
    assert main(["--quick", "--output", str(results)]) == 0
    for name, holds in HOLDS.items():
        holds(report.Document.read(results / f"{name}.json").results)
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert main(["--render", "--output", str(results), "--page", str(page)]) == 0
    assert all(f"### {name}\n" in page.read_text() for name in HOLDS)
    assert "Closed loop" in capsys.readouterr().out


def test_every_figure_can_be_asked_for():
    names = {name for _, name, _ in pkgutil.iter_modules(figures.__path__) if name != "__main__"}
    modules = {name: importlib.import_module(f"{figures.__name__}.{name}") for name in names}
    assert set(FIGURES) == {name for name, module in modules.items() if hasattr(module, "run")}


def test_missing_data_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HONED_DATA", str(tmp_path))
    assert main(["--quick", "--output", str(tmp_path), "closed"]) == 2
    assert "set HONED_DATA" in capsys.readouterr().err
