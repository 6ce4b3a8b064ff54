import pytest
from queues import COST, TABLE, row, rows

from honed_server.edge.errors import DeadlinePassed, Overloaded
from honed_server.serving.admission import Admission, Limits
from honed_server.serving.batcher import BatchQueue, Request


class Gate:
    """Admission over a queue of two workers whose clock stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = BatchQueue(lambda: TABLE, workers=2, clock=lambda: self.now)
        self.admission = Admission(Limits(max_requests=30, max_tokens=1000), self.queue, workers=2)

    def check(self, *tokens: int, remaining_s: float = 10.0) -> None:
        self.admission.check(self._request(remaining_s), tokens, COST, self.now)

    def admit(self, *tokens: int, remaining_s: float = 10.0) -> None:
        self.admission.admit(self._request(remaining_s), tokens, COST, self.now)

    def queued(self, *tokens: int) -> None:
        self.admit(*tokens)
        self.queue.append(rows(*tokens))

    def refusal(self, tokens: int, remaining_s: float = 10.0) -> Overloaded:
        before = self.admission.requests, self.admission.tokens
        with pytest.raises(Overloaded) as refused:
            self.admit(tokens, remaining_s=remaining_s)
        assert before == (self.admission.requests, self.admission.tokens)
        assert refused.value.retry_after_s > 0
        return refused.value

    def run(self, slow: float = 1.0) -> None:
        batch = self.queue.take()
        self.now += slow * batch.predicted_s
        self.queue.done(batch)

    def _request(self, remaining_s: float) -> Request:
        return row(1, deadline=self.now + remaining_s).request


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_queue_is_bounded_by_requests_and_tokens(gate):
    gate.admit(400)
    gate.admit(400)
    refused = gate.refusal(400)
    assert (refused.reason, "800 tokens are queued" in refused.message) == ("QUEUE_TOKENS", True)
    for _ in range(28):
        gate.admit(1)
    assert gate.refusal(1).reason == "QUEUE_FULL"
    gate.admission.release([400])
    gate.admit(400)


def test_a_request_larger_than_the_bound_is_served_when_nothing_waits(gate):
    gate.admit(5000)


def test_what_is_asked_before_tokenising_counts_nothing(gate):
    gate.queued(*[20] * 45)
    gate.check(10)
    with pytest.raises(Overloaded):
        gate.check(101)
    assert (gate.admission.requests, gate.admission.tokens) == (1, 900)


def test_unmeetable_deadlines_are_refused_with_a_hint(gate):
    gate.queued(*[20] * 20)  # 400 tokens: about 0.11 s for one worker, half of that for two
    refused = gate.refusal(20, 0.05)
    assert refused.reason == "DEADLINE_UNMEETABLE"
    assert 0.05 <= refused.retry_after_s < 0.2
    gate.admit(20, remaining_s=0.1)
    with pytest.raises(DeadlinePassed):
        gate.admit(1, remaining_s=-0.1)


def test_a_request_needs_time_of_its_own(gate):
    """Nearly nothing waits, yet its own text takes 65 ms."""
    gate.queued(4)
    assert gate.refusal(256, 0.05).reason == "DEADLINE_UNMEETABLE"
    gate.admit(256, remaining_s=0.1)


def test_a_busy_machine_is_seen(gate):
    gate.queued(*[20] * 20)
    gate.admit(20, remaining_s=0.1)
    for _ in range(30):
        gate.run(slow=4)
        gate.queue.append([row(20) for _ in range(3)])
    assert gate.refusal(20, 0.1).reason == "DEADLINE_UNMEETABLE"


def test_answers_that_wait_for_the_event_loop_are_seen(gate):
    gate.queued(*[20] * 20)
    gate.admit(20, remaining_s=0.1)
    for _ in range(50):
        gate.admission.observe(0.04)
    assert gate.refusal(20, 0.1).reason == "DEADLINE_UNMEETABLE"


def test_an_idle_engine_is_never_kept_idle_by_a_forecast(gate):
    for _ in range(30):
        gate.queue.append([row(20), row(20)])
        while gate.queue.tokens:
            gate.run(slow=10)
    gate.admit(20, remaining_s=0.01)
    gate.queue.append([row(20)])
    assert gate.refusal(20, 0.01).reason == "DEADLINE_UNMEETABLE"
