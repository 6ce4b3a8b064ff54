"""The values about models that callers hold, under the rules of `types.py`, which has them too."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Model:
    """A named endpoint. `revision` below `log_position` means that learning lags behind.

    `suspect_from` and `suspect_to` bound the log range under suspicion after a rollback (0: none);
    `adapt_state` is "running", "starting" or "down"; `max_tokens` is the longest text (0: an older
    server, which does not say). `own_head_version` holds the head that the model was imported with
    (0: it started empty), `learned_weight` says how much learned labels count beside it (1 without
    such a head), and `learned_evidence` the prequential evidence for that weight, in nats.
    `precision` is what answers are computed in, "fp32" or "int8".
    """

    name: str
    version: int
    revision: int
    label_set_version: int
    labels: tuple[str, ...]
    encoder_digest: str
    hidden_size: int
    temperature: float
    closed_labels: bool
    adaptation_paused: bool
    suspect_from: int
    suspect_to: int
    log_position: int
    anchor_examples: int
    create_time: datetime | None
    adapt_state: str
    max_tokens: int = 0
    own_head_version: int = 0
    learned_weight: float = 1.0
    learned_evidence: float = 0.0
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable, durable version of a model.

    `state` is "candidate", "active", "retired", "refused" or "damaged"; `tainted_position` is the
    log position of a later deletion of feedback that it had learned (0: none).
    """

    version: int
    state: str
    parent: int
    encoder_digest: str
    log_position: int
    num_labels: int
    create_time: datetime | None
    source: str
    manifest_sha256: str
    tainted_position: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a model; `numbers_json` holds the numbers behind it, a JSON object."""

    decision_id: str
    kind: str
    outcome: str
    version: int
    actor: str
    reason: str
    numbers_json: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """Something that happened to a model, and the model after it.

    `kind` is "snapshot" (the state when the watch began), "revision", "version", "rollback",
    "paused", "resumed", "created", "deleted", "quarantined" or "precision".
    """

    kind: str
    model: Model
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Export:
    """A model that was written to disk as a folder that transformers loads.

    Attributes:
        model: Name of the model.
        version: Version that was exported.
        revision: Revision of that version.
        files: Paths inside the folder, "/" between names.
    """

    model: str
    version: int
    revision: int
    files: tuple[str, ...]
