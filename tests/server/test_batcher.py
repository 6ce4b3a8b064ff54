"""The batcher's one decision, over any queue, and the queue that asks for it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queues import COST, TABLE, row, rows

from honed_server.serving.batcher import BatchQueue, form_batch

NOW = 100.0
anyhow = st.builds(
    row,
    st.integers(2, 100),
    model=st.sampled_from(["a", "b", "c", "gone"]),
    left=st.booleans(),
    deadline=st.sampled_from([NOW - 1, NOW + 0.01, NOW + 0.02, NOW + 1]),
)


def in_time(one, pace=1.0) -> bool:
    return NOW + pace * COST.seconds(one.ids.size, 1) < one.request.deadline


def live(one) -> bool:
    return one.request.model in TABLE and not one.request.abandoned and in_time(one)


@given(st.lists(anyhow, max_size=40), st.integers(1, 200))
def test_every_queue_is_divided_rightly(waiting, share):
    batch = form_batch(waiting, TABLE, NOW, share)
    looked_at = waiting[: batch.looked_at]
    assert all(live(one) for one in batch.rows + batch.keep)
    assert not any(in_time(one) for one in batch.expired)
    assert all(one.request.model == "gone" for one in batch.unknown)
    # One encoder a batch, within the tokens unless a single text exceeds them.
    assert len({TABLE[one.request.model].loaded.encoder.digest for one in batch.rows}) <= 1
    assert batch.tokens == sum(one.ids.size for one in batch.rows)
    assert len(batch.rows) <= 1 or batch.tokens <= min(64, max(20, share))
    # Every deadline in it holds, as far as can be foretold.
    assert all(NOW + batch.predicted_s < one.request.deadline for one in batch.rows)
    # Nothing is lost or doubled, order is kept, and the first live row always leads.
    left = [one for one in looked_at if one.request.abandoned]
    divided = batch.rows + batch.expired + batch.unknown + batch.keep + left
    assert sorted(map(id, divided)) == sorted(map(id, looked_at))
    for part in (batch.rows, batch.keep):
        assert part == [one for one in looked_at if one in part]
    first = next((one for one in waiting if live(one)), None)
    assert first is None or batch.rows[0] is first
    assert (batch.reason == "queue_empty") == (not batch.keep)
    # It looks past a bounded number of rows, and at all of them if they fit.
    assert len(batch.keep) <= 8
    assert batch.looked_at == len(waiting) or len(batch.keep) == 8


def test_the_first_outcome_of_a_text_counts_and_the_last_text_finishes_once():
    finished = []
    first, second = rows(5, 5)
    request = first.request
    request.finish = lambda: finished.append(dict(request.outcomes))
    for one, outcome in ((second, "b"), (second, "late"), (first, "a"), (first, "late")):
        request.settle(one.index, outcome)
    assert finished == [{0: "a", 1: "b"}]


def test_models_of_one_encoder_share_a_batch():
    batch = form_batch([row(5), row(5, model="c"), row(5, model="b")], TABLE, NOW, 64)
    assert [one.request.model for one in batch.rows] == ["a", "b"]
    assert [one.request.model for one in batch.keep] == ["c"]
    assert batch.reason == "other_encoder"


def test_short_texts_fill_what_a_long_one_leaves():
    batch = form_batch([row(40), row(40), row(20), row(10)], TABLE, NOW, 64)
    assert [one.ids.size for one in batch.rows] == [40, 20]
    assert batch.reason == "token_budget"
    assert form_batch([row(40), row(40)], TABLE, NOW, 30).reason == "worker_share"
    assert form_batch([row(40)], TABLE, NOW, 64).reason == "queue_empty"


def test_two_long_texts_run_apart():
    batch = form_batch([row(256), row(256)], TABLE, NOW, 512)
    assert (len(batch.rows), len(batch.keep)) == (1, 1)


def test_a_batch_ends_before_the_earliest_deadline_in_it():
    hurried = row(20, deadline=NOW + 0.010)  # alone it takes 6 ms
    batch = form_batch([hurried, row(30), row(8)], TABLE, NOW, 64)
    assert [one.ids.size for one in batch.rows] == [20, 8]
    assert batch.reason == "deadline"


def test_who_would_be_late_anyway_is_named_early():
    late = row(40, deadline=NOW + 0.010)  # alone it takes 11 ms
    batch = form_batch([late, row(40)], TABLE, NOW, 64)
    assert (batch.expired, len(batch.rows)) == ([late], 1)
    slow = row(20, deadline=NOW + 0.010)
    assert form_batch([slow], TABLE, NOW, 64, pace=1.0).rows == [slow]
    assert form_batch([slow], TABLE, NOW, 64, pace=2.0).expired == [slow]


class Engine:
    """A queue of one worker over a clock that stands still unless moved."""

    def __init__(self, workers: int = 1) -> None:
        self.now = NOW
        self.queue = BatchQueue(lambda: TABLE, workers=workers, clock=lambda: self.now)

    def run(self):
        batch = self.queue.take()
        self.now += batch.predicted_s
        self.queue.done(batch)
        return batch


def test_two_workers_share_what_is_queued():
    queue = Engine(workers=2).queue
    fresh = [row(20) for _ in range(4)]
    for one in fresh:
        queue.append([one])
    first, second = queue.take(), queue.take()
    assert [len(first.rows), len(second.rows)] == [2, 2]  # a free worker beside, then none
    assert not first.lone
    left = row(20)
    queue.append([left])
    assert queue.tokens == 20
    assert queue.close() == [left]
    assert queue.take() is None


def test_a_text_that_is_alone_is_called_lone():
    queue = Engine(workers=2).queue
    queue.append([row(20)])
    first = queue.take()
    assert first.lone
    queue.append([row(20)])
    assert not queue.take().lone  # the first batch still runs
    queue.done(first)


@given(
    st.lists(
        st.tuples(st.integers(2, 80), st.sampled_from("xyz"), st.booleans(), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_every_row_is_answered_once_whoever_else_waits(asked):
    engine = Engine()
    waiting = [
        row(size, tenant=tenant, bulk=bulk, model="c" if other else "a")
        for size, tenant, bulk, other in asked
    ]
    for one in waiting:
        engine.queue.append([one])
    taken = []
    while engine.queue.tokens:
        taken += engine.run().rows
    assert Counter(map(id, taken)) == Counter(map(id, waiting))


@pytest.mark.parametrize("bulk", [False, True])
def test_no_row_starves_whatever_arrives(bulk):
    """Three old rows against new tenants, who would all go first, and another encoder's rows."""
    engine = Engine()
    old = [row(30, tenant="old", bulk=bulk, model="c") for _ in range(3)]
    for one in old:
        engine.queue.append([one])
    left, batches = set(map(id, old)), 0
    while left:
        for n in range(4):
            engine.queue.append([row(16, tenant=f"new-{batches}-{n}")])
        left -= set(map(id, engine.run().rows))
        batches += 1
        assert batches < 100


def served_s(batches, tenant: str) -> float:
    theirs = (one for batch in batches for one in batch.rows if one.request.tenant == tenant)
    return sum(COST.token_s * one.ids.size for one in theirs)


@given(st.lists(st.tuples(st.integers(2, 60), st.integers(2, 60)), min_size=40, max_size=80))
def test_tenants_that_always_wait_get_equal_shares(sizes):
    """The greedy one came first with all that it has; the other asks as much, in small pieces."""
    engine = Engine()
    engine.queue.append(rows(*[size for size, _ in sizes], tenant="greedy"))
    for _, size in sizes:
        engine.queue.append([row(size, tenant="modest")])
    batches, total_s = [], {"greedy": 0.0, "modest": 0.0}
    for greedy, modest in sizes:
        total_s["greedy"] += COST.token_s * greedy
        total_s["modest"] += COST.token_s * modest
    for _ in range(20):
        batches.append(engine.run())
        if any(
            served_s(batches, name) > all_s - COST.token_s * 60 for name, all_s in total_s.items()
        ):
            break  # one of them hardly waits any more
        # At any time within a batch, and the rows that shorter ones may pass, of one another.
        apart = served_s(batches, "greedy") - served_s(batches, "modest")
        assert abs(apart) <= COST.token_s * (64 + 8 * 60)


def test_bulk_waits_but_keeps_a_tenth():
    engine = Engine()
    engine.queue.append(rows(*[16] * 250, bulk=True))
    first = engine.run()
    engine.queue.append(rows(*[16] * 3000))
    batches = [engine.run() for _ in range(400)]
    bulk = [batch for batch in batches if batch.rows[0].request.priority.value == "bulk"]
    assert first.rows[0].request.priority.value == "bulk"
    assert 0.08 < sum(b.tokens for b in bulk) / sum(b.tokens for b in batches) < 0.12
    # A batch is of one priority: who waits for an answer does not wait for bulk in the same run.
    assert all(len({one.request.priority for one in batch.rows}) == 1 for batch in batches)


def test_a_forecast_that_lets_nothing_run_is_doubted():
    """The machine was slow, and now every deadline is too short for a machine that slow."""
    engine = Engine()
    for _ in range(30):
        engine.queue.append([row(20)])
        engine.queue.append([row(20)])
        batch = engine.queue.take()
        engine.now += 8 * batch.predicted_s
        engine.queue.done(batch)
    while engine.queue.tokens:
        engine.run()
    refused = 0
    for _ in range(60):
        engine.queue.append([row(20, deadline=engine.now + 0.012)])  # alone it takes 6 ms
        if engine.run().rows:
            break
        refused += 1
    assert 0 < refused < 60


def test_what_goes_before_a_request_is_foretold():
    engine = Engine()
    ahead_s = engine.queue.ahead_s
    interactive, bulk = (row(1, bulk=is_bulk).request.priority for is_bulk in (False, True))
    assert ahead_s(interactive, "x", 0.01) == 0
    engine.queue.append(rows(*[20] * 10, tenant="x"))
    all_s = 200 * COST.token_s
    assert ahead_s(interactive, "x", 0.01) == pytest.approx(all_s)
    assert ahead_s(bulk, "y", 0.01) == pytest.approx(all_s)
    # Another tenant goes before most of it, as far as its own work is small.
    assert ahead_s(interactive, "y", 20 * COST.token_s) < 0.3 * all_s
    running = engine.queue.take()
    assert ahead_s(interactive, "x", 0.01) == pytest.approx(
        all_s - running.tokens * COST.token_s + running.predicted_s, rel=0.05
    )
