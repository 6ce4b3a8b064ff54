"""Texts that were asked before: the same answers without the engine, and nothing left of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from journeys import examples, metric, taught, teach

from harness import RunningServer, running
from honed import Client, HonedError, Prediction

BASE = examples(slice(2))
TEXTS = [text for text, _ in examples(slice(6, 8))]
MODEL = "asked-before"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose MODEL has learned the base."""
    home = tmp_path_factory.mktemp("home")
    with running(home, example=False) as server, server.client() as client:
        taught(client, MODEL, BASE)
    return home


@pytest.fixture(scope="module")
def server(home: Path, plain: list[Prediction]) -> Iterator[RunningServer]:
    with running(home, example=False, workers=1, embedding_cache_mb=1) as server:
        yield server


@pytest.fixture(scope="module")
def plain(home: Path) -> list[Prediction]:
    """The answers of a server that keeps no vectors."""
    with running(home, example=False, workers=1) as server, server.client() as client:
        ask(client, TEXTS)
        found = ask(client, TEXTS)
        assert (hits(server), misses(server)) == (0, 0)
    return found


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_known(client: Client) -> None:
    """Each test begins with a deletion, and so with an empty cache."""
    forget_something(client)


def forget_something(client: Client) -> None:
    ack = client.submit(model=MODEL, text="about to be forgotten", label=BASE[0][1], wait=True)
    client.delete(MODEL, [ack.feedback_id], requested_by="ada")


def ask(client: Client, texts: list[str], model: str = MODEL) -> list[Prediction]:
    """All that an answer can hold, one text after the other: company moves the last bits."""
    return [client.predict(model, text, top_k=99, logits=True, embedding=True) for text in texts]


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two answers differ in nothing but their names, their times and their revision."""
    aside = {"prediction_id": "", "queue_time_s": 0.0, "compute_time_s": 0.0}
    aside |= {"version": 0, "revision": 0}
    return replace(one, **aside) == replace(other, **aside)


def hits(server: RunningServer) -> float:
    return metric(server.server.http_port, "honed_embedding_cache_hits_total")


def misses(server: RunningServer) -> float:
    return metric(server.server.http_port, "honed_embedding_cache_misses_total")


def kept_bytes(server: RunningServer) -> float:
    return metric(server.server.http_port, "honed_embedding_cache_bytes")


def batches(server: RunningServer) -> float:
    return metric(server.server.http_port, "honed_compute_seconds_count")


def test_known_texts_are_answered_alike_to_the_bit_without_the_engine(server, client, plain):
    first, missed = ask(client, TEXTS), misses(server)
    ran, known = batches(server), hits(server)
    second = ask(client, TEXTS)
    assert all(map(same, second, first))
    assert all(map(same, second, plain))
    assert (batches(server), hits(server), misses(server)) == (ran, known + len(TEXTS), missed)


def test_nobody_gets_a_vector_that_he_did_not_ask_for(client):
    for _ in range(2):
        answer = client.predict(MODEL, TEXTS[0])
        assert (answer.embedding, answer.logits) == ((), ())


def test_known_and_unknown_texts_of_one_request_keep_their_order(server, client):
    ask(client, TEXTS[::2])
    known = hits(server)
    mixed = client.predict_many(MODEL, [*TEXTS, "\ue000"], top_k=99)
    assert hits(server) == known + len(TEXTS[::2])
    assert [answer.text for answer in mixed[:-1]] == TEXTS
    assert isinstance(mixed[-1], HonedError)
    for answer, alone in zip(mixed, ask(client, TEXTS), strict=False):
        assert [score.label for score in answer.scores] == [score.label for score in alone.scores]


def test_the_head_that_serves_now_answers(server, client, name):
    taught(client, name, BASE)
    text = TEXTS[0]
    (before,) = ask(client, [text], name)
    known = hits(server)
    teach(client, name, [(text, "quite another matter")])
    (after,) = ask(client, [text], name)
    assert hits(server) == known + 1
    assert after.revision > before.revision
    assert (after.label, after.embedding) == ("quite another matter", before.embedding)


def test_all_models_of_an_encoder_know_what_one_was_asked(server, client, name):
    client.create_model(name)
    ask(client, TEXTS)
    known = hits(server)
    with pytest.raises(HonedError) as refused:
        client.predict(name, TEXTS[0])
    assert refused.value.reason == "NOTHING_LEARNED"
    teach(client, name, [("my parcel", "parcel"), ("my money", "money")])
    (answer,) = ask(client, TEXTS[:1], name)
    assert answer.model == name
    assert hits(server) == known + 1


def test_heads_that_are_much_work_are_computed_beside_the_event_loop(server, client, name):
    """50 labels by 384 numbers by 250 texts."""
    client.create_model(name)
    teach(client, name, [(f"number {n} of fifty", f"label {n}") for n in range(50)])
    texts = [f"{text}, please" for text in TEXTS] * 9
    first = client.predict_many(name, texts[:250])
    known = hits(server)
    second = client.predict_many(name, texts[:250])
    assert hits(server) == known + 250
    assert [one.label for one in second] == [one.label for one in first]


@pytest.mark.parametrize("whole_model", [False, True])
def test_a_deletion_empties_it(server, client, name, whole_model):
    ask(client, TEXTS)
    assert kept_bytes(server) > 0
    if whole_model:
        client.create_model(name)
        client.delete_model(name)
    else:
        forget_something(client)
    assert kept_bytes(server) == 0
    missed = misses(server)
    ask(client, TEXTS)
    assert misses(server) == missed + len(TEXTS)


def test_memory_is_bounded_and_the_oldest_give_way(server, client):
    texts = [f"where is parcel number {n}" for n in range(750)]
    for start in range(0, len(texts), 250):
        client.predict_many(MODEL, texts[start : start + 250])
    assert 1 << 19 < kept_bytes(server) <= 1 << 20
    known = hits(server)
    client.predict_many(MODEL, texts[-200:])
    assert hits(server) == known + 200
    missed = misses(server)
    client.predict_many(MODEL, texts[:200])
    assert misses(server) == missed + 200
