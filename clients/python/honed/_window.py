"""The texts of one prediction stream that are under way: sent, answered, handed out in order.

Pure but for the clock: `_stream.py` and `_aio_stream.py` move the messages, for threads and tasks.
"""

from time import monotonic

from honed._convert import predictions_from
from honed._question import Question
from honed._retry import ATTEMPTS, RetryBudget, backoff_s
from honed._throttle import HOLD_S, Throttle, was_accepted
from honed.errors import DeadlineExceeded, HonedError, InvalidRequest, Unavailable
from honed.types import Prediction
from honed_proto.v1 import inference_pb2

Outcome = Prediction | HonedError


def stream_ended() -> HonedError:
    """What is wrong if a server ends a stream of which answers are still due."""
    return Unavailable("the server ended the stream", "STREAM_ENDED", "UNAVAILABLE")


class Window:
    """Numbers the texts, finds their answers again, and keeps them until it is their turn.

    Args:
        asked: What is asked about each text.
        size: Most texts that are held: sent and not answered, or answered and not handed out.
        timeout_s: Longest silence while an answer is due, in seconds.
        budget: Limits how often broken streams are opened again.
        throttle: Slows sending down while the server refuses much.

    Raises:
        ValueError: `size` or `timeout_s` is not positive.
    """

    def __init__(
        self,
        asked: Question,
        size: int,
        timeout_s: float,
        budget: RetryBudget,
        throttle: Throttle,
    ) -> None:
        if size < 1 or not timeout_s > 0:
            raise ValueError(f"window and timeout_s must be positive, not {size} and {timeout_s}")
        self._asked = asked
        self._size = size
        self._timeout_s = timeout_s
        self._budget = budget
        self._throttle = throttle
        self._unanswered: dict[int, inference_pb2.PredictRequest] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._first = 0  # the next to be handed out
        self._next = 0  # the next to be taken in
        self._since = monotonic()  # when an answer came, or the first one became due
        self._answered = False
        self._breaks = 0  # in a row

    @property
    def has_room(self) -> bool:
        """Whether one more text may be taken in."""
        return self._next - self._first < self._size

    @property
    def is_empty(self) -> bool:
        """Whether all that was taken in has been handed out."""
        return self._next == self._first

    def add(self, text: str) -> None:
        """Takes a text in."""
        number = self._next
        try:
            request = self._asked.request([text], str(number))
        except UnicodeEncodeError as error:
            self._outcomes[number] = InvalidRequest(f"the text is not Unicode: {error}", "BAD_TEXT")
        else:
            if not self._unanswered:
                self._since = monotonic()
            self._unanswered[number] = request
        self._next += 1

    def request_after(self, number: int) -> tuple[int, inference_pb2.PredictRequest] | None:
        """The first unanswered request with a higher number, if there is one."""
        for later in range(max(number + 1, self._first), self._next):
            if later in self._unanswered:
                return later, self._unanswered[later]
        return None

    def hold_s(self) -> float:
        """How long the next request is to be held back before it is sent, in seconds."""
        return 0 if self._throttle.admits() else HOLD_S

    def answer(self, response: inference_pb2.PredictResponse) -> None:
        """Takes an answer in; the text may wait for others before it."""
        number = int(response.request_id) if response.request_id.isdecimal() else -1
        request = self._unanswered.pop(number, None)
        if request is None:
            return  # answered before, on a stream that has broken since
        self._throttle.note(was_accepted(response))
        try:
            (outcome,) = predictions_from(response, request.texts)
        except HonedError as error:
            outcome = error
        self._outcomes[number] = outcome
        self._since = monotonic()
        self._answered = True
        self._breaks = 0
        self._budget.refund()

    def pop(self) -> Outcome | None:
        """Hands out the next outcome in order, if it is there."""
        outcome = self._outcomes.pop(self._first, None)
        if outcome is not None:
            self._first += 1
        return outcome

    def patience_s(self) -> float | None:
        """How long to wait for something to happen, in seconds; for ever if no answer is due.

        Raises:
            DeadlineExceeded: An answer has been due for too long.
        """
        if not self._unanswered:
            return None
        left_s = self._since + self._timeout_s - monotonic()
        if left_s <= 0:
            message = (
                f"no answer on the stream for {self._timeout_s:g} s; allow more time, or a "
                "smaller window"
            )
            raise DeadlineExceeded(message, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        return left_s

    def retry_in_s(self, error: HonedError) -> float:
        """How long to wait before a broken stream is opened again, in seconds.

        A server that has answered is given `timeout_s` to come back while answers are due, one
        that has not three attempts.

        Raises:
            HonedError: `error`, if it should not be.
        """
        self._breaks += 1
        hopeless = not self._answered and self._breaks >= ATTEMPTS
        late = bool(self._unanswered) and monotonic() - self._since > self._timeout_s
        if error.status != "UNAVAILABLE" or hopeless or late or not self._budget.spend():
            raise error
        return backoff_s(self._breaks)
