"""Which generation answers a text: what serves, or for a share of the texts a candidate on trial.

The share is drawn by a hash of the text, so that a text gets the same side for as long as the trial
lasts. The table carries both, and without a canary nothing is hashed.
"""

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from honed_adapt.gate.evidence import Latency
from honed_proto.v1 import models_pb2 as pb
from honed_server.serving.generations import Generation, Table

if TYPE_CHECKING:
    from honed_server.models.shelf import Stored

_HASHES = 1 << 32


@dataclass(frozen=True, slots=True)
class Canary:
    """A candidate that answers a share of the texts, 0 to 1, in its own name."""

    generation: Generation
    share: float


@dataclass(slots=True)
class Rival:
    """What stands beside what serves, while there is a trial; see `trials.py`.

    Attributes:
        trial: How it stands, for callers.
        stored: What it is, once it has been read; its encoder stays in memory for it.
        canary: The same, where it answers.
        latencies: What a long text costs with it and with what serves, once that was measured; by
            whether it has caught up.
    """

    trial: pb.Trial | None = None
    stored: "Stored | None" = None
    canary: Canary | None = None
    latencies: dict[bool, Latency | None] = field(default_factory=dict)


def with_canary(generation: Generation, canary: Canary | None) -> Generation:
    """What serves, together with the canary beside it."""
    if canary is None or not canary.share:
        return replace(generation, canary=None)
    return replace(generation, canary=(round(canary.share * _HASHES), canary.generation))


def answering(table: Table, model: str, text: str) -> Generation | None:
    """What answers a text of a model; None for a model that has gone."""
    generation = table.get(model)
    if generation is None or generation.canary is None:
        return generation
    below, candidate = generation.canary
    # Keyed by the model, so that its canary does not get the texts that others' get.
    digest = blake2b(text.encode(), digest_size=4, key=model.encode()).digest()
    return candidate if int.from_bytes(digest) < below else generation
