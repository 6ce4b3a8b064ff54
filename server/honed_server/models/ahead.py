"""A candidate over another encoder, on its way to what serves: what was offered of it so far."""

import asyncio
from dataclasses import dataclass, field

from honed_adapt.process import messages


@dataclass(slots=True)
class Ahead:
    """What the adapt process is to learn beside what serves.

    Attributes:
        digest: The candidate's encoder.
        hidden: Length of that encoder's vectors, 0 until it is known.
        offer: The newest head over it.
        holders: Those that wait for it; while there are any no other candidate takes its place.
        fault: Why there will be none, empty if there may.
        came: Set by each offer, and by a fault.
    """

    digest: str
    hidden: int = 0
    offer: messages.Revision | None = None
    holders: int = 0
    fault: str = ""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wanted(self) -> str:
        """The encoder to learn over, empty if that cannot be."""
        return "" if self.fault else self.digest
