"""What the server asks the adapt process and waits for, but not for ever."""

import asyncio
from collections.abc import Callable
from itertools import count

from honed_adapt.process.messages import Message
from honed_adapt.process.questions import Question, Reply
from honed_server.edge.errors import DeadlinePassed, Unavailable

# The adapt process hears a question between two steps of its work, which take some tens of ms.
_PATIENCE_S = 10.0
_RETRY_S = 1.0


class Questions:
    """Questions under way. Event loop only.

    Args:
        tell: Sends to the adapt process; returns False if it is not there.
    """

    def __init__(self, tell: Callable[[Message], bool]) -> None:
        self._tell = tell
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}

    async def ask(self, make: Callable[..., Question], remaining_s: float) -> Reply:
        """Asks and waits for the answer.

        Args:
            make: Makes the question with the `number` that it gets.
            remaining_s: Seconds that the caller has left.

        Raises:
            Unavailable: The adapt process is down, or is building what it is asked about.
            DeadlinePassed: It is busy for longer than that.
        """
        number = next(self._numbers)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            if not self._tell(make(number=number)):
                raise _down()
            reply = await asyncio.wait_for(future, remaining_s)
        except TimeoutError as error:
            raise DeadlinePassed(
                "the adapt process is busy learning and did not answer in time; allow more time",
                reason="ADAPT_BUSY",
            ) from error
        finally:
            del self._waiting[number]
        if reply.fault:
            raise Unavailable(reply.fault, reason="ADAPT_BUSY", retry_after_s=_RETRY_S)
        return reply

    def settle(self, reply: Reply) -> None:
        """Hands an answer to whoever waits for it, if he still does."""
        future = self._waiting.get(reply.number)
        if future is not None and not future.done():
            future.set_result(reply)

    def lose(self) -> None:
        """Fails what is under way: the adapt process has gone."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_down())


def _down() -> Unavailable:
    return Unavailable(
        "the adapt process, which knows the labels behind an answer, is down; try again",
        reason="ADAPT_DOWN",
        retry_after_s=_RETRY_S,
    )
