"""The changing facts about one model, as the event loop sees them.

It stands inside `catalogue.py`, which holds one for each model.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_proto.v1 import models_pb2 as pb
from honed_server.insight.watch import Watched
from honed_server.models.ahead import Ahead
from honed_server.models.registry import ModelRow
from honed_server.serving.canary import Rival
from honed_server.serving.generations import EncoderKey


@dataclass(slots=True)
class Entry:
    """The changing facts about one model. Changes happen under `lock`, on the event loop.

    Attributes:
        row: What the registry holds.
        epoch: Grows whenever offers that are under way become void.
        offered_epoch: Epoch of the newest offer that was installed.
        log_position: Last log position of the model's feedback.
        considered: Position up to which the adapt process has made of the log what can be made of
            it; 0 in a new epoch, and while more is on its way.
        version_position: Log position of the active version.
        version_source: Where the active version came from.
        deletion_position: Log position of the last deletion that a version may not have forgotten.
        anchor_set: Number of the anchor set, 0 for none; `anchor_total` its size.
        anchor_reference: Most anchor answers right so far under that set.
        anchor_vectors: Their vectors by encoder, computed when the gate needs them.
        acknowledged: (position, monotonic seconds) of labels that no revision has learned yet.
        quarantined: Positions in quarantine since the server started.
        distrusted: Submitters whose labels do not count, since all others contradict them.
        unsaved: Labels served but not yet in a version.
        own_encoder: Digest of the encoder that the imported head belongs to.
        learned_weight, learned_evidence: How much what was learned counts in what serves.
        recipe: How what was learned is mixed, see `honed_adapt.instant.recipe`; None while that is
            to be decided, over an encoder that is new.
        watch: Whether its answers are right, and whether its texts change.
        learning: What the newest offer says that it was learned with.
        rival: What is compared with what serves.
        ahead: What is learned over the encoder of a candidate that shall serve soon.
    """

    row: ModelRow
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    epoch: int = 1
    offered_epoch: int = 0
    log_position: int = 0
    considered: int = 0
    version_position: int = 0
    version_source: str = "create"
    deletion_position: int = 0
    anchor_set: int = 0
    anchor_total: int = 0
    anchor_reference: int | None = None
    anchor_vectors: dict[EncoderKey, NDArray[np.float32]] = field(default_factory=dict)
    acknowledged: deque[tuple[int, float]] = field(default_factory=deque)
    quarantined: set[int] = field(default_factory=set)
    distrusted: frozenset[str] = frozenset()
    unsaved: int = 0
    own_encoder: str = ""
    learned_weight: float = 1.0
    learned_evidence: float = 0.0
    recipe: Mapping[str, Any] | None = field(default_factory=dict)
    watch: Watched = field(default_factory=Watched)
    learning: pb.Learning = field(default_factory=pb.Learning)
    rival: Rival = field(default_factory=Rival)
    ahead: Ahead | None = None

    def weigh(self, metrics: Mapping[str, Any]) -> None:
        """Takes over how much was learned from a version's metrics; without any, all of it."""
        self.learned_weight = metrics.get("learned_weight", 1.0)
        self.learned_evidence = metrics.get("learned_evidence", 0.0)

    def own_head_behind(self, encoder_digest: str) -> int:
        """Version with the head that the model was imported with, if it fits that encoder."""
        return self.row.own_head_version if encoder_digest == self.own_encoder else 0

    @property
    def settled(self) -> bool:
        """Whether what serves stays as it is until something is said."""
        return self.row.paused or self.considered >= self.log_position

    @property
    def weighed(self) -> Mapping[str, float]:
        """How much was learned, for a version's metrics."""
        return {
            "learned_weight": self.learned_weight,
            "learned_evidence": self.learned_evidence,
        }
