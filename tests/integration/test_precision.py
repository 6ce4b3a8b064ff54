"""From labels to answers in integers: found out beside serving, decided, swapped, and kept."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from journeys import candidate, decisions, saved_head, trainer

from checkpoints import save_encoder
from harness import RunningServer, running
from honed import Client, FeedbackItem, Prediction
from honed_adapt.encoders.store import import_encoder
from honed_adapt.gate.evidence import Latency
from honed_adapt.process import messages
from honed_server.trials.latency import Latencies

CLASSES = ("card", "loan", "branch", "rate")
LABELS = 1200
ASKED = [f"my {name} number {n} is gone" for name in CLASSES for n in range(5)]


def labels() -> list[FeedbackItem]:
    """Short texts of classes that are easily told apart, all different."""
    words = random.Random(0)
    return [
        FeedbackItem(
            text=f"{name} {name} {name} {words.random():.6f}", label=name, submitter="test"
        )
        for name in (CLASSES[n % len(CLASSES)] for n in range(LABELS))
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("precision")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return {"example": False, "encoder": save_encoder(tmp_path_factory.mktemp("small"))}


@pytest.fixture(scope="module")
def server(home: Path, settings: dict[str, object]) -> Iterator[RunningServer]:
    with running(home, **settings) as server, server.client() as client:
        teach(client)
        yield server


def teach(client: Client) -> None:
    client.create_model("m")
    client.create_model("new")
    client.submit(model="new", text="card", label="card", wait=True)
    every = labels()
    with client.watch("m") as events:
        for start in range(0, LABELS, 200):
            client.submit_many("m", every[start : start + 200])
        next(event for event in events if event.kind == "precision")


def answers(client: Client, model: str = "m") -> list[Prediction]:
    found = client.predict_many(model, ASKED, top_k=len(CLASSES))
    assert all(isinstance(one, Prediction) for one in found)
    return found


def test_integers_serve_once_held_out_labels_allow_it(server: RunningServer) -> None:
    with server.client() as client:
        assert client.get_model("m").precision == "int8"
        assert client.get_model("new").precision == "fp32"  # it has shown nothing
        decided, numbers = decisions(client, "m", "precision")[-1]
        assert decided.outcome == "int8"
        assert numbers["labels"] >= 1000
        assert numbers["holdout"] >= 200
        assert numbers["changed"] <= 0.002
        assert numbers["lost"] <= 0.005


def test_old_answers_in_integers_can_be_recomputed(server: RunningServer) -> None:
    with server.client() as client:
        for old in answers(client)[:3]:
            again = client.replay(old.prediction_id)
            assert again.matches
            assert again.label == old.label


def test_a_fine_tuned_encoder_costs_no_more_than_the_one_that_serves_in_integers(
    server: RunningServer, home: Path, tmp_path: Path
) -> None:
    """Each begins in float32, so that it would look slower for good than what has moved on."""
    tuned = import_encoder(save_encoder(tmp_path, seed=3), home)
    with server.client() as client, trainer(home) as door:
        now = client.get_model("m")
        door.offer(messages.Integers("m", now.encoder_digest, LABELS, 240, changed=0.0, lost=0.0))
        assert client.get_model("m").precision == "int8"
        offer = candidate(client, "m", saved_head(home, "m", now.version))
        verdict = door.offer(replace(offer, encoder_digest=tuned))
        assert "times as long" not in verdict.reason
        (*_, (_, numbers)) = decisions(client, "m", "gate")
        assert numbers["p99_ratio"] < numbers["p99_ratio_limit"]


def test_what_serves_in_float32_is_compared_with_integers_in_float32(
    server: RunningServer, home: Path, tmp_path: Path
) -> None:
    """It may have no form in integers at all."""
    other = import_encoder(save_encoder(tmp_path, num_hidden_layers=3), home)
    with server.client() as client:
        integers = client.get_model("m").encoder_digest
        client.create_model("other", encoder_digest=other)
        client.submit(model="other", text="card", label="card", wait=True)
    head = saved_head(home, "m", 2)
    catalogue = server.server.catalogue

    async def compared() -> Latency | None:
        loaded = await catalogue.encoder("m", integers)
        assert loaded.encoder.precision == "int8"
        compare = Latencies(catalogue, server.server.predictions).compare
        return await compare(catalogue.entry("other"), head, loaded)

    assert server.run(compared()).ratio > 0


def test_models_in_both_precisions_answer_at_the_same_time(server: RunningServer) -> None:
    with server.client() as client:
        calls = [client.predict_stream(model, ASKED) for model in ("m", "new") for _ in range(3)]
        for found in zip(*calls, strict=True):
            assert all(isinstance(one, Prediction) for one in found)


def test_labels_are_learned_on_in_float32(server: RunningServer) -> None:
    with server.client() as client:
        text = "something else entirely"
        ack = client.submit(model="m", text=text, label="other", wait=True)
        found = client.predict("m", text)
        assert (found.label, found.revision >= ack.position) == ("other", True)
        assert client.get_model("m").precision == "int8"


def test_it_stays_so_after_a_restart_and_can_be_switched_off(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with running(tmp_path, **settings) as server, server.client() as client:
        teach(client)
        before = answers(client)
    with running(tmp_path, **settings) as server, server.client() as client:
        assert client.get_model("m").precision == "int8"
        assert len(decisions(client, "m", "precision")) == 1
        assert [one.label for one in answers(client)] == [one.label for one in before]
    with running(tmp_path, precision="fp32", **settings) as server, server.client() as client:
        assert client.get_model("m").precision == "fp32"
        exact = answers(client)
        assert client.replay(before[0].prediction_id).matches  # it was computed in integers
    damaged = next((tmp_path / "encoders").glob("*/int8.safetensors"))
    damaged.write_bytes(b"")
    with running(tmp_path, **settings) as server, server.client() as client:
        assert [one.label for one in answers(client)] == [one.label for one in exact]
        with client.watch("m") as events:
            # Served in float32 until it is written anew and shown anew.
            assert next(event for event in events if event.model.precision == "int8")
        assert len(decisions(client, "m", "precision")) == 2
