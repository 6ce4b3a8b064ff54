"""Where a fine-tuning round stands that has not ended."""

import asyncio
from dataclasses import dataclass, field

from honed_adapt.process.messages import RoundProgress


@dataclass(slots=True)
class Course:
    """The course of an active round; in memory only.

    Attributes:
        attempt: Trainers that have ended too early.
        stuck: Of these, those that have not got further, since one has.
        pid: The trainer's process id, 0 while there is none.
        progress: What it said last.
        offering: Held while a candidate of the round is judged and taken.
        cancelled: Whether it is to end; then no candidate of it is promoted.
    """

    attempt: int = 0
    stuck: int = 0
    pid: int = 0
    progress: RoundProgress | None = None
    offering: asyncio.Lock = field(default_factory=asyncio.Lock)
    cancelled: bool = False
