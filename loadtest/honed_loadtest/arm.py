"""Arms: the things a scenario measures one after the other, again and again in changing order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from honed_loadtest.load import Job
from honed_loadtest.marks import Marks
from honed_loadtest.stage import Stage

ArmT = TypeVar("ArmT")

Beside = Callable[[Marks], AbstractContextManager[None]]
"""Makes what goes on beside the load; it may add marks."""


def _nothing(_: Marks) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing to measure.

    Attributes:
        name: As results show it.
        stage: Where.
        job: The load.
        beside: What goes on meanwhile.
    """

    name: str
    stage: Stage
    job: Job
    beside: Beside = field(default=_nothing)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What `honed bench NAME` measures.

    Attributes:
        about: One line for people.
        arms: Prepares the stage and says what to measure on it.
        rounds: Interleaved rounds unless asked otherwise.
        flags: Settings that a server needs that is started for it.
        compared: Whether the second arm is compared with the first.
        needs_own_server: Whether a running server will not do.
        needs_labels: Whether it submits labels.
        witness: Another load generator that has a go after the arms; its facts go into the result.
    """

    about: str
    arms: Callable[[Stage], Sequence[Arm]]
    rounds: int = 1
    flags: tuple[str, ...] = ()
    compared: bool = False
    needs_own_server: bool = False
    needs_labels: bool = False
    witness: Callable[[Stage], dict[str, Any]] | None = None


def in_turn(arms: Sequence[ArmT], rounds: int) -> Iterator[tuple[int, ArmT]]:
    """Each round's number and arms, every second round in reverse order.

    So (A B B A) a machine that gets slower or faster favours none of them.
    """
    for number in range(rounds):
        for arm in reversed(arms) if number % 2 else arms:
            yield number, arm
