import pytest

from honed_server.admission import Admission, Limits
from honed_server.errors import DeadlinePassed, Overloaded


def admission() -> Admission:
    return Admission(Limits(max_requests=3, max_tokens=100), workers=2)


def test_queue_is_bounded_by_requests_and_tokens():
    gate = admission()
    gate.admit(40, 10)
    gate.admit(40, 10)
    with pytest.raises(Overloaded, match="80 tokens are queued"):
        gate.admit(40, 10)
    gate.admit(1, 10)
    with pytest.raises(Overloaded, match="3 requests are queued") as refused:
        gate.admit(1, 10)
    assert refused.value.retry_after_s > 0
    gate.release(40)
    gate.admit(40, 10)


def test_a_request_larger_than_the_bound_is_served_when_nothing_waits():
    admission().admit(1000, 10)


def test_unmeetable_deadlines_are_refused_with_a_hint():
    gate = admission()
    gate.observe(tokens=50, seconds=0.5)  # two workers: 200 tokens/s
    gate.admit(90, 10)
    assert gate.wait_s() == pytest.approx(0.45)
    with pytest.raises(Overloaded) as refused:
        gate.admit(5, 0.2)
    assert refused.value.reason == "DEADLINE_UNMEETABLE"
    assert refused.value.retry_after_s == pytest.approx(0.3)
    gate.admit(5, 1.0)
    with pytest.raises(DeadlinePassed):
        gate.admit(1, -0.1)
