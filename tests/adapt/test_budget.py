"""The budget of learning: how reports of the server's load become CPU time."""

import socket
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from honed_adapt.process import budget, messages
from honed_adapt.process.budget import BURST_S, FLOORS, IDLE, Budget
from honed_adapt.process.messages import Load
from honed_adapt.process.wire import read_frame

FLOOR = FLOORS["trainer"]
SHARES = st.floats(FLOOR, 1) | st.just(IDLE)
LOADS = st.builds(Load, idle=st.floats(0, 1), delay_s=st.floats(0, 10))
SLOW = st.floats(0.006, 10)
BUSY = st.floats(0, 0.99)


def next_share(share: float, load: Load) -> float:
    return budget.next_share(share, load, FLOOR)


@given(SHARES, st.lists(LOADS))
def test_learning_never_stops_and_takes_no_more_than_a_core_beside_traffic(share, loads):
    shares = [*accumulate(loads, next_share, initial=share)][1:]
    assert all(
        FLOOR <= each <= 1 or load.idle == 1 for each, load in zip(shares, loads, strict=True)
    )


@given(SHARES, BUSY, SLOW)
def test_it_falls_to_the_floor_while_requests_wait(share, idle, delay_s):
    later = next_share(share, Load(idle, delay_s))
    assert later <= max(FLOOR, min(share, 1) / 2)
    for _ in range(10):
        later = next_share(later, Load(idle, delay_s))
    assert later == FLOOR


@given(SHARES, BUSY)
def test_it_grows_back_to_what_the_engine_leaves_idle(share, idle):
    for _ in range(20):
        share = next_share(share, Load(idle, 0.0))
    assert share == max(FLOOR, idle)


@given(SHARES)
def test_an_idle_server_gives_all_back_at_once(share):
    assert next_share(share, Load(1.0, 0.0)) == IDLE


@given(SHARES, st.floats(0, 0.99), st.floats(0, 1), st.floats(0, 0.02), st.floats(0, 0.02))
def test_busier_or_slower_never_allows_more(share, idle, less, delay_s, more):
    better, worse = Load(idle, delay_s), Load(idle * less, delay_s + more)
    assert next_share(share, worse) <= next_share(share, better)


def test_what_was_saved_is_spent_at_once_and_debt_is_waited_for():
    bucket = Budget(FLOOR, now=0.0)
    bucket.pay(BURST_S, now=0.0)
    assert bucket.wait_s(0.0) == 0
    bucket.hear(Load(idle=0.5, delay_s=0.0), now=0.0)
    bucket.pay(0.1, now=0.0)
    assert bucket.wait_s(0.0) == pytest.approx(0.2)
    assert bucket.wait_s(0.15) == pytest.approx(0.05)
    assert bucket.wait_s(9.0) == 0
    bucket.pay(BURST_S + 0.01, now=9.0)  # no more than a burst was saved meanwhile
    assert bucket.wait_s(9.0) == pytest.approx(0.02)


@given(st.lists(st.tuples(LOADS, st.floats(0, 0.2)), min_size=1))
def test_who_waits_as_told_takes_at_most_its_share(periods):
    """CPU seconds over any stretch: the burst, one slice, and the largest share of the time."""
    bucket, now, used, allowed = Budget(FLOOR, now=0.0), 0.0, 0.0, BURST_S
    for load, cost_s in periods:
        bucket.hear(load, now)
        wait_s = bucket.wait_s(now)
        assert wait_s <= max((c for _, c in periods), default=0) / FLOOR + 1e-9
        allowed += bucket.share * (wait_s + cost_s)
        now += wait_s + cost_s
        bucket.pay(cost_s, now)
        used += cost_s
        assert used <= allowed + cost_s + 1e-9


@given(LOADS)
def test_a_report_travels(load):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(messages.encode(load))
        frame = read_frame(theirs)
    assert messages.decode(frame) == load
