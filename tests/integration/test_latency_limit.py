"""The limit on the 99th percentile: what a long text costs with a candidate, head and all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journeys import (
    ask_until,
    candidate,
    decisions,
    items,
    saved_head,
    taught,
    teach,
    trainer,
    wait_for,
)

from checkpoints import save_encoder
from harness import RunningServer, running
from honed import Client, Policy
from honed_adapt.encoders.lineage import Lineage, write_lineage
from honed_adapt.encoders.store import import_encoder
from honed_adapt.head import Head

PAIRS = [(f"{label} {n}", label) for label in ("card", "loan") for n in range(4)]
WRONG = {"card": "loan", "loan": "card"}
LONG = "the license of this work " * 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    small = save_encoder(tmp_path_factory.mktemp("small"))
    with running(tmp_path_factory.mktemp("home"), example=False, encoder=small) as server:
        yield server


@pytest.fixture
def client(server: RunningServer, name: str) -> Iterator[Client]:
    with server.client() as client:
        taught(client, name, PAIRS)
        yield client


def offered(
    server: RunningServer, client: Client, name: str, head: Head, **changes: Any
) -> tuple[str, dict[str, Any]]:
    """Offers a head; what the gate said, and the numbers behind it."""
    with trainer(server.config.home) as door:
        verdict = door.offer(replace(candidate(client, name, head), **changes))
    return verdict.reason, decisions(client, name, "gate")[-1][1]


def asked(server: RunningServer, client: Client, name: str, texts: list[str]) -> None:
    """Asks, and returns when the log has it all."""
    log = server.server.predictions
    total = len(log.latest(name, 1_000)) + len(texts)
    client.predict_many(name, texts)
    ask_until(lambda: len(log.latest(name, 1_000)) == total)


def widened(head: Head) -> Head:
    """The same with so many labels more that it takes longer than a small encoder."""
    more = tuple(f"label {n}" for n in range(200_000))
    return Head(
        labels=(*head.labels, *more),
        weight=np.vstack([head.weight, np.zeros((len(more), head.hidden), np.float32)]),
        bias=np.append(head.bias, np.full(len(more), -50, np.float32)),
    )


def test_an_encoder_that_takes_too_long_is_refused(
    server: RunningServer, client: Client, name: str, tmp_path: Path
) -> None:
    home = server.config.home
    deep = save_encoder(tmp_path, num_hidden_layers=16, intermediate_size=2048)
    head, slow = saved_head(home, name, 2), {"encoder_digest": import_encoder(deep, home)}
    reason, numbers = offered(server, client, name, head, **slow)
    assert "times as long" in reason
    assert "1.5 allowed (p99_ratio)" in reason
    assert numbers["p99_ratio"] > numbers["p99_ratio_limit"] == 1.5
    assert numbers["candidate_p99_ms"] > numbers["champion_p99_ms"] > 0

    client.set_policy(name, Policy(p99_ratio=1e6))
    reason, numbers = offered(server, client, name, head, **slow)
    assert "times as long" not in reason
    assert numbers["p99_ratio_limit"] == 1e6


def test_what_a_head_takes_counts_too(server: RunningServer, client: Client, name: str) -> None:
    head = saved_head(server.config.home, name, 2)
    assert "times as long" in offered(server, client, name, widened(head))[0]
    assert "times as long" not in offered(server, client, name, head)[0]


def test_measured_is_the_head_that_would_serve(
    server: RunningServer, client: Client, name: str, tmp_path: Path
) -> None:
    """One that has caught up, which is not the one that was offered."""
    home, now = server.config.home, client.get_model(name)
    tuned = import_encoder(save_encoder(tmp_path, seed=3), home)
    write_lineage(home, tuned, Lineage(now.encoder_digest, now.encoder_digest, "r1", "adapter",
                                       {name: now.log_position}))  # fmt: skip
    offer = candidate(client, name, widened(saved_head(home, name, 2)))
    teach(client, name, [("it got lost", "lost")])
    with trainer(home) as door:
        verdict = door.offer(replace(offer, encoder_digest=tuned))
    assert "times as long" not in verdict.reason
    assert saved_head(home, name, verdict.number).labels == ("card", "loan", "lost")


def test_the_length_is_that_of_what_is_asked(
    server: RunningServer, client: Client, name: str
) -> None:
    head = saved_head(server.config.home, name, 2)
    _, unasked = offered(server, client, name, head)
    asked(server, client, name, [f"card {n}" for n in range(196)])
    _, short = offered(server, client, name, head)
    asked(server, client, name, [LONG] * 4)
    _, long = offered(server, client, name, head)
    assert unasked["p99_tokens"] == 32  # nothing is known of its texts
    assert short["p99_tokens"] < 12
    assert long["p99_tokens"] == client.predict(name, LONG).num_tokens


def test_settings_of_an_encoder_that_are_gone_refuse_an_offer_and_no_more(
    server: RunningServer, client: Client, name: str, tmp_path: Path
) -> None:
    home = server.config.home
    deep = import_encoder(save_encoder(tmp_path, num_hidden_layers=3), home)
    offer = candidate(client, name, saved_head(home, name, 2))
    config = home / "encoders" / client.get_model(name).encoder_digest / "config.json"
    aside = config.rename(config.with_suffix(".aside"))
    try:
        with trainer(home) as door:
            verdict = door.offer(replace(offer, encoder_digest=deep))
            assert verdict.outcome == "refused"
            assert "config.json" in verdict.reason
            assert "config.json" not in door.offer(offer).reason  # the same encoder takes as long
    finally:
        aside.rename(config)


def test_a_trial_that_is_won_ends_in_a_refusal_where_a_text_takes_too_long(
    server: RunningServer, client: Client, name: str
) -> None:
    taught(client, f"{name}-wrong", [(text, WRONG[label]) for text, label in PAIRS])
    good, name = saved_head(server.config.home, name, 2), f"{name}-wrong"
    client.set_policy(name, Policy(p99_ratio=1e6))
    offered(server, client, name, widened(good))
    wait_for(client, name, lambda model: model.trial is not None)
    client.set_policy(name, Policy())
    audits = [(f"{text}{n}", label) for text, label in PAIRS for n in range(5)]
    client.submit_many(name, items(audits))
    wait_for(client, name, lambda model: model.trial is None)
    (*_, (decision, numbers)) = decisions(client, name, "trial")
    assert decision.outcome == "refused"
    assert "1.5 allowed (p99_ratio)" in decision.reason
    assert numbers["e_better"] >= numbers["e_needed"]
    assert numbers["p99_ratio"] > numbers["p99_ratio_limit"] == 1.5
