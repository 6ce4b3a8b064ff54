"""Every scenario is measured end to end in fractions of seconds, and keeps to its schema."""

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator
from swap_oracle import make_encoder
from typer.testing import CliRunner

from harness import running
from honed.commands import bench
from honed_loadtest.command import NOT_MEASURED
from loadtest.small import small_rows, write_rows

SCHEMA = json.loads((files("honed_loadtest") / "schema.json").read_text())
QUICK = ("--seconds", 0.5, "--warm-s", 0.1, "--rounds", 1, "--json")


def honed_bench(*arguments):
    """Runs `honed bench`; returns its exit code, its result (None without one) and its errors."""
    done = CliRunner().invoke(bench.app, list(map(str, arguments)), catch_exceptions=False)
    found = json.loads(done.stdout) if done.stdout else None
    if found is not None:
        Draft202012Validator(SCHEMA).validate(found)
    return done.exit_code, found, done.stderr


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """What to say of a running server with two models, for a scenario that may teach them."""
    folder = tmp_path_factory.mktemp("bench")
    make_encoder(folder, folder, 0)
    rows = write_rows(folder / "rows.csv", small_rows(4))
    with running(folder / "home", encoder=folder / "encoder-0", example=False) as server:
        client = server.client()
        for model in ("m", "n"):
            client.create_model(model)
            client.submit(model=model, text="word", label="label 0", wait=True)
        client.close()
        yield (
            "--target", server.target, "--model", "m", "--model", "n",
            "--texts", rows, "--labels", rows, *QUICK,
        )  # fmt: skip


def steady(found):
    (run,) = found["runs"]
    assert run["offered_per_s"] == pytest.approx(60, rel=0.6)
    assert run["requests"] == run["answered"] == run["latency"]["count"]
    assert sum(second["requests"] for second in run["timeline"]) == run["requests"]
    assert run["served"]["m"]["revisions"] == 1


def closed(found):
    assert [arm["arm"] for arm in found["arms"]] == ["concurrency 1", "concurrency 3"]
    assert {arm["loop"] for arm in found["arms"]} == {"closed"}
    assert all(arm["answered"] > 5 for arm in found["arms"])


def learn(found):
    without, with_labels = found["runs"]
    assert not without["marks"]
    assert {mark["kind"] for mark in with_labels["marks"]} >= {"label", "revision"}
    assert with_labels["label_to_served"]["count"] >= 1
    assert set(found["comparisons"][0]["percentiles"]) >= {"p50_ms", "p99_ms"}


def overload(found):
    bearable, over = found["runs"]
    assert over["offered_per_s"] > 1.5 * bearable["offered_per_s"]
    assert over["timeout_s"] == 1.0


def mix(found):
    served = found["runs"][0]["served"]
    assert served["m"]["answers"] > served["n"]["answers"] > 0


def mlperf(found):
    loadgen, ours = found["loadgen"], found["runs"][0]
    assert loadgen["offered_per_s"] == pytest.approx(60)
    assert loadgen["client"]["errors"] == 0
    assert loadgen["latency"]["p50_ms"] > 0
    assert ours["answered"] > 5


HOLDS = {
    steady: ("--rate", 60),
    closed: ("--concurrency", 1, "--concurrency", 3),
    learn: ("--rate", 60, "--labels-per-s", 50),
    overload: ("--peak", 100),
    mix: ("--rate", 100, "--zipf", 1.5),
    mlperf: ("--rate", 60, "--bound-ms", 5000),
}


@pytest.mark.parametrize("holds", HOLDS, ids=lambda holds: holds.__name__)
def test_a_scenario_measures_a_running_server(target, holds):
    code, found, errors = honed_bench(holds.__name__, *target, *HOLDS[holds])
    assert code == int(found["invalid"]), errors
    assert found["servers"] == [{"name": target[1], "own": False, "peak_per_s": None}] or (
        found["servers"][0]["peak_per_s"] == 100
    )
    holds(found)


def test_the_highest_rate_that_holds_the_bound_is_searched_for(target):
    _, found, _ = honed_bench("mlperf", *target, "--peak", 80, "--bound-ms", 5000)
    tried = [probe["rate_per_s"] for probe in found["search"]]
    assert all(probe["held"] for probe in found["search"])
    assert tried[:3] == [40, 60, 70]
    assert found["loadgen"]["offered_per_s"] == pytest.approx(tried[-1])


def test_a_shape_is_offered_second_by_second(target):
    shape = ("--shape", "step:20x1,200x1")
    _, found, _ = honed_bench("steady", *target, *shape)
    slow, fast = found["runs"][0]["timeline"]
    assert fast["requests"] > 4 * slow["requests"]


def test_swaps_are_marked_on_a_server_of_its_own_with_the_example(small_encoder, small_data):
    code, found, errors = honed_bench("swap", *QUICK, "--rate", 60, "--rounds", 2)
    assert code == int(found["invalid"]), errors
    assert found["servers"][0]["own"]
    assert [run["arm"] for run in found["runs"]] == [
        "without swaps", "with swaps", "with swaps", "without swaps"
    ]  # fmt: skip
    for run in found["runs"]:
        swapped = any(mark["kind"] == "revision" for mark in run["marks"])
        assert swapped == (run["arm"] == "with swaps")
    assert found["comparisons"][0]["rounds"] == 2


def test_two_servers_are_compared_in_turn_at_equal_load(small_encoder, small_data):
    small_data("banking77", 7)
    sides = ("--compare", "", "--workers 1")
    code, found, errors = honed_bench("steady", *QUICK, *sides, "--rounds", 2)
    assert all(server["peak_per_s"] > 1 for server in found["servers"])
    assert code == int(found["invalid"]), errors
    assert [run["server"] for run in found["runs"]] == [
        "own server", "own server --workers 1", "own server --workers 1", "own server"
    ]  # fmt: skip
    assert {run["requests"] for run in found["runs"][:2]} == {found["runs"][0]["requests"]}
    (compared,) = found["comparisons"]
    assert (compared["first"], compared["second"]) == (
        "steady, own server", "steady, own server --workers 1"
    )  # fmt: skip
    median = compared["percentiles"]["p50_ms"]
    assert median["low"] <= median["ratio"] <= median["high"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fast",), "no scenario 'fast'; say steady, closed"),
        (("steady", "--target", "127.0.0.1:1"), "--model and --texts"),
        (("swap", "--target", "127.0.0.1:1"), "leave --target out"),
        (("learn", "--target", "127.0.0.1:1"), "say with what, by --labels"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(arguments, says):
    code, found, errors = honed_bench(*arguments)
    assert (code, found) == (NOT_MEASURED, None)
    assert says in errors.splitlines()[-1]


def test_a_shape_that_cannot_be_read_is_one_sentence(target):
    code, _, errors = honed_bench("steady", *target, "--shape", "ramp:1")
    assert code == NOT_MEASURED
    assert "'ramp:1' is not a load shape" in errors
