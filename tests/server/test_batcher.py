"""The batcher's one decision, over any queue."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from honed_adapt.head import Head
from honed_server.batcher import BatchQueue, Request, Row, form_batch
from honed_server.generations import Generation, LoadedEncoder

NOW, BUDGET = 100.0, 64


class FixedEncoder:
    """Names an encoder; form_batch asks for no more."""

    hidden = 4

    def __init__(self, digest: str) -> None:
        self.digest = digest


def generation(model: str, digest: str) -> Generation:
    loaded = LoadedEncoder(FixedEncoder(digest), None, 2)
    return Generation.of(model, 1, 1, 1, Head.empty(4), loaded)


TABLE = {"a": generation("a", "one"), "b": generation("b", "one"), "c": generation("c", "two")}


def row(model: str, tokens: int, *, left: bool = False, late: bool = False) -> Row:
    request = Request(
        model, 1, False, False, admitted=NOW - 1, deadline=NOW - 0.5 if late else NOW + 1,
        finish=lambda _: None, outcomes=[None], pending=1, abandoned=left,
    )  # fmt: skip
    return Row(request, 0, "", np.zeros(tokens, np.int64), False, "t")


rows = st.builds(
    row,
    st.sampled_from(["a", "b", "c", "gone"]),
    st.integers(2, 100),
    left=st.booleans(),
    late=st.booleans(),
)


def live(one: Row) -> bool:
    return one.request.model in TABLE and not one.request.abandoned and one.request.deadline > NOW


@given(st.lists(rows, max_size=30), st.integers(1, 200))
def test_every_queue_is_divided_rightly(waiting, budget):
    unread = iter(waiting)
    plan = form_batch(unread, TABLE, NOW, budget)
    looked_at = waiting[: len(waiting) - len(list(unread))]
    assert all(live(one) for one in plan.take)
    assert all(one.request.deadline <= NOW for one in plan.expired)
    assert all(one.request.model == "gone" for one in plan.unknown)
    assert not any(one.request.abandoned for one in plan.take + plan.expired + plan.unknown)
    # One encoder a batch, within the budget unless a single text exceeds it.
    assert len({TABLE[one.request.model].loaded.encoder.digest for one in plan.take}) <= 1
    assert len(plan.take) == 1 or plan.tokens <= budget
    assert plan.tokens == sum(one.ids.size for one in plan.take)
    # Nothing is lost or doubled, order is kept, and the oldest live row is always taken.
    left = [one for one in looked_at if one.request.abandoned]
    divided = plan.take + plan.expired + plan.unknown + plan.keep + left
    assert sorted(map(id, divided)) == sorted(map(id, looked_at))
    for part in (plan.take, plan.keep):
        assert part == [one for one in looked_at if one in part]
    oldest = next((one for one in waiting if live(one)), None)
    assert oldest is None or plan.take[0] is oldest


def test_models_of_one_encoder_share_a_batch():
    waiting = [row("a", 5), row("c", 5), row("b", 5)]
    plan = form_batch(waiting, TABLE, NOW, BUDGET)
    assert [one.request.model for one in plan.take] == ["a", "b"]
    assert [one.request.model for one in plan.keep] == ["c"]


def test_budget_ends_a_batch_and_is_named():
    plan = form_batch([row("a", 40), row("a", 40)], TABLE, NOW, BUDGET)
    assert (len(plan.take), len(plan.keep), plan.reason) == (1, 1, "token_budget")
    assert form_batch([row("a", 40)], TABLE, NOW, BUDGET).reason == "queue_empty"


def test_two_workers_share_what_is_queued():
    queue = BatchQueue(lambda: TABLE, workers=2, max_batch_tokens=128, min_batch_tokens=20)
    fresh = [row("a", 20) for _ in range(4)]
    for one in fresh:
        one.request.deadline = float("inf")
        queue.append([one])
    first, second = queue.take(), queue.take()
    assert [len(first.rows), len(second.rows)] == [2, 1]  # shares shrink with what is left
    assert queue.tokens == 20
    assert not first.lone
    assert queue.close() == fresh[3:]
    assert queue.take() is None


def test_a_text_that_is_alone_is_called_lone():
    queue = BatchQueue(lambda: TABLE, workers=2, max_batch_tokens=128, min_batch_tokens=20)
    lonely, second = row("a", 20), row("a", 20)
    lonely.request.deadline = second.request.deadline = float("inf")
    queue.append([lonely])
    assert queue.take().lone
    queue.append([second])
    assert not queue.take().lone  # the first batch still runs
