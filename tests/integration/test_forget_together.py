"""What was deleted of one model leaves the others whose encoder was trained on it as well."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from journeys import (
    candidate,
    decisions,
    examples,
    other_encoder,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import RunningServer, running
from honed import Client, FeedbackAck, InvalidRequest, Model
from honed_adapt.encoders.lineage import Lineage, base_of, write_lineage
from honed_server.feedback.deletions import Deletions
from honed_server.models.shelf import Shelf

ORDERS = examples(slice(2), ("track", "refund", "broken"))
SHOP = examples(slice(2, 4), ("price", "stock"))
DAY_S = 86_400


def promoted(home: Path, client: Client, server: RunningServer, model: str, digest: str) -> int:
    """The number of a version that serves the model's own head over that encoder from here on."""
    head = server.server.catalogue.serving(model).head
    offer = candidate(client, model, head)
    with trainer(home) as line:
        verdict = line.offer(replace(offer, encoder_digest=digest))
    client.promote(model, verdict.number)
    return verdict.number


def trained_together(
    home: Path, folder: Path, client: Client, server: RunningServer
) -> tuple[str, list[FeedbackAck]]:
    """Models `orders` and `shop` over an encoder that was trained on both; what `orders` knows."""
    acks, others = taught(client, "orders", ORDERS), taught(client, "shop", SHOP)
    base, digest = client.get_model("orders").encoder_digest, other_encoder(home, folder)
    trained = {"orders": acks[-1].position, "shop": others[-1].position}
    write_lineage(home, digest, Lineage(base, base, "r1", "adapter", trained))
    for model in trained:
        promoted(home, client, server, model, digest)
    return digest, acks


def settle_at(server: RunningServer, days: float, *, tidy: bool = True) -> None:
    """As the server looks itself, some days later."""
    catalogue = server.server.catalogue
    later = Deletions(
        catalogue,
        Shelf(catalogue),
        server.server.predictions,
        30,
        clock=lambda: time.time() + days * DAY_S,
    )
    later.rounds = server.server.rounds if tidy else None
    server.run(later.settle_all())


def named(client: Client, model: str) -> set[tuple[str, int, bool, bool]]:
    """What the record of the last deletion says still holds of it."""
    (*_, record) = client.list_deletions(model)
    assert record.complete == (not record.tainted)
    return {(one.model, one.version, one.in_encoder, one.active) for one in record.tainted}


def free(client: Client, model: str, digest: str, labels: int) -> Model:
    """The model once it has learned its labels again over another encoder."""
    return wait_for(
        client,
        model,
        lambda one: one.encoder_digest != digest and len(one.labels) == labels,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "h"


@pytest.fixture
def server(home: Path) -> Iterator[RunningServer]:
    with running(home, example=False) as server:
        yield server


def test_the_versions_of_all_models_that_were_trained_together_retire(home, tmp_path, server):
    with server.client() as client:
        digest, acks = trained_together(home, tmp_path / "encoder", client, server)
        client.create_model("late", encoder_digest=digest)  # it has no version to go back to
        teach(client, "late", SHOP)
        shop = client.get_model("shop").version

        done = client.delete("orders", [acks[3].feedback_id], timeout_s=30)
        assert done.record.tainted[0].model == "orders"
        assert named(client, "orders") >= {
            ("orders", done.served_version, True, True),
            ("shop", shop, True, True),
            ("late", 1, True, client.get_model("late").version == 1),
        }
        assert all(
            one.retire_time - done.record.time == timedelta(days=30)
            for one in done.record.tainted
            if one.in_encoder
        )
        late = teach(client, "shop", [("is there a rebate", "rebate")])[-1]
        client.promote("shop")  # what is made over that encoder holds it too
        assert ("shop", client.get_model("shop").version, True, True) in named(client, "orders")
        client.delete("shop", [late.feedback_id], timeout_s=30)
        assert "orders" not in {model for model, *_ in named(client, "shop")}

        settle_at(server, 29, tidy=False)
        assert {client.get_model(one).encoder_digest for one in ("orders", "shop")} == {digest}
        assert named(client, "orders")

        settle_at(server, 31)
        for model, labels in (("orders", 3), ("shop", 2), ("late", 2)):
            assert not free(client, model, digest, labels).adaptation_paused
        assert named(client, "orders") == named(client, "shop") == set()
        outcomes = [decision.outcome for decision, _ in decisions(client, "shop", "retire")]
        assert outcomes[-2:] == ["activated", "removed"]
        assert not (home / "encoders" / digest).exists()
        with pytest.raises(InvalidRequest) as caught:
            client.rollback("shop", shop)
        assert f"deleted at log position {done.position}" in caught.value.message


def test_what_a_deleted_model_has_taught_is_named_and_retires(home, tmp_path):
    """Also after a restart, and for a model that is paused, which stays so."""
    with running(home, example=False) as server, server.client() as client:
        digest, _ = trained_together(home, tmp_path / "encoder", client, server)
        shop = client.get_model("shop").version
        client.pause("shop")
        client.delete_model("orders")
        assert named(client, "orders") == {("shop", shop, True, True)}
    with running(home, example=False) as server, server.client() as client:
        assert named(client, "orders") == {("shop", shop, True, True)}
        settle_at(server, 31)
        assert free(client, "shop", digest, 2).adaptation_paused
        assert named(client, "orders") == set()


def test_without_a_deadline_all_retire_at_once(home, tmp_path):
    with running(home, example=False, forget_deadline_days=0) as server, server.client() as client:
        digest, acks = trained_together(home, tmp_path / "encoder", client, server)
        done = client.delete("orders", [acks[3].feedback_id], timeout_s=30)
        assert done.record.complete
        assert digest not in {model.encoder_digest for model in client.list_models()}
        free(client, "shop", digest, 2)


def test_no_candidate_of_a_round_knows_what_was_deleted_meanwhile(home, tmp_path, server):
    """Though nothing was deleted of the model that it is for."""
    with server.client() as client:
        digest, acks = trained_together(home, tmp_path / "encoder", client, server)
        started = client.start_round("shop")
        head = server.server.catalogue.serving("shop").head
        offer = replace(candidate(client, "shop", head), round_id=started.round_id)
        client.delete("orders", [acks[3].feedback_id], timeout_s=30)
        assert client.get_model("shop").encoder_digest == offer.encoder_digest == digest
        with trainer(home) as line:
            assert line.offer(offer).outcome == "stale"
            base = base_of(home, digest)
            assert line.offer(replace(offer, encoder_digest=base)).outcome != "stale"
        client.cancel_round(started.round_id)
