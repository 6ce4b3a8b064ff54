"""Which side answers a text: by its hash, for good, and by the table of the batch."""

from dataclasses import replace
from time import thread_time

import pytest
from queues import generation, row

from honed_server.serving.batcher import form_batch
from honed_server.serving.canary import Canary, answering, with_canary

TEXTS = [f"where is order {n}" for n in range(4000)]
SERVING, RIVAL = generation("a", "one"), generation("a", "two")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 0.5])
def test_a_canary_gets_its_share_of_the_texts(share: float) -> None:
    table = {"a": with_canary(SERVING, Canary(RIVAL, share))}
    answered = [answering(table, "a", text) for text in TEXTS]
    assert sum(one is RIVAL for one in answered) / len(TEXTS) == pytest.approx(share, abs=0.02)
    assert [answering(table, "a", text) for text in TEXTS] == answered
    assert answering(table, "b", TEXTS[0]) is None


def test_models_try_their_canaries_on_different_texts() -> None:
    table = {
        name: with_canary(replace(SERVING, model=name), Canary(RIVAL, 0.5)) for name in ("a", "b")
    }
    same = sum(
        (answering(table, "a", text) is RIVAL) == (answering(table, "b", text) is RIVAL)
        for text in TEXTS
    )
    assert 0.4 < same / len(TEXTS) < 0.6


def test_a_canary_goes_with_the_next_table() -> None:
    table = {"a": with_canary(with_canary(SERVING, Canary(RIVAL, 0.5)), None)}
    assert {id(answering(table, "a", text)) for text in TEXTS} == {id(table["a"])}


def test_a_batch_holds_rows_of_one_side_when_the_encoders_differ() -> None:
    table = {"a": with_canary(SERVING, Canary(RIVAL, 0.5))}
    waiting = [replace(row(2), text=text) for text in TEXTS[:8]]
    batch = form_batch(waiting, table, 0.0, 64)
    first = answering(table, "a", TEXTS[0])
    sides = [answering(table, "a", text) is first for text in TEXTS[:8]]
    assert [one.text for one in batch.rows] == [
        t for t, same in zip(TEXTS[:8], sides, strict=True) if same
    ]
    assert 0 < len(batch.keep) < 8
    assert batch.reason == "other_encoder"


def test_no_canary_costs_nothing_to_speak_of() -> None:
    table = {"a": SERVING}
    started = thread_time()
    for text in TEXTS:
        answering(table, "a", text)
    assert (thread_time() - started) / len(TEXTS) < 20e-6
