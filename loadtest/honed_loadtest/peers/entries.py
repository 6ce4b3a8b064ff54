"""Who is compared, and what was found: the values that go from measuring to showing."""

from dataclasses import dataclass, field

from honed_loadtest.load import Outcome
from honed_loadtest.peers.catalogue import Peer
from honed_loadtest.peers.classifier import Settings

CONCURRENCY = (1, 8, 32)
CHECKED_TEXTS = 50
HONED = "Honed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the comparison: a peer with settings, or Honed, whose variant is its precision."""

    name: str
    variant: str
    peer: Peer | None = None
    settings: Settings | None = None

    @property
    def last(self) -> bool:
        """Whether it is what its server does best, and so measured in every round."""
        return self.peer is None or self.variant == list(self.peer.variants)[-1]


@dataclass(frozen=True, slots=True)
class Visit:
    """What an entry showed in one round.

    Attributes:
        closed: by concurrency.
        ready_s: from its start to its first answer.
        pss_mb: memory of all its processes, after the load.
        agreeing: how many of the first CHECKED_TEXTS it answered as Honed does.
    """

    closed: dict[int, Outcome]
    ready_s: float
    pss_mb: float
    agreeing: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured.

    Attributes:
        visits: of each entry, in the order of rounds.
        failed: why a peer, or one entry of it, is missing.
        versions: of what is installed in each peer's environment.
    """

    visits: dict[Entry, list[Visit]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
