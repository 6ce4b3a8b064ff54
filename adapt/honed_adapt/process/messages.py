"""What server and adapt process say to each other over the local socket.

The server tells which models exist, where their log stands and how busy it is; the adapt process
offers revisions, the trainer offers candidates. The server decides. Frames are `wire.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.insight.conformal import COVERAGE
from honed_adapt.insight.explain import Reason
from honed_adapt.insight.noise import Doubt
from honed_adapt.insight.open_set import FALSE_ALARMS
from honed_adapt.process import wire
from honed_adapt.process.findings import Deleted, Distrust, Grown, Unreadable
from honed_adapt.process.questions import Explain, Explained, Question, Reply, Suspect, Suspected
from honed_adapt.process.round_words import Round as Round
from honed_adapt.process.round_words import RoundEnded as RoundEnded
from honed_adapt.process.round_words import RoundModel as RoundModel
from honed_adapt.process.round_words import RoundProgress as RoundProgress
from honed_adapt.process.round_words import Train as Train
from honed_adapt.process.round_words import VectorsReady as VectorsReady
from honed_adapt.trust.standing import Standing


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a connection: who calls ("adapt" or "trainer")."""

    role: str
    pid: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """What the adapt process must know about one model.

    Attributes:
        epoch: grows whenever earlier offers became void (rollback, promotion, pause, resume).
        revision: what serves now.
        row_limit: last log position whose label may be learned; None when learning is on.
        pinned_at: while learning is paused: log position at which that began. What is pinned lacks
            all that was deleted up to there.
        anchor_set: number of the present anchor set; 0 when there is none.
        anchor_reference: most anchor answers right so far under that set, None if unknown.
        own_head_version: version with the user's own head, 0 if the model came without one.
        judged_at: labels in effect when integers were last tried on this encoder, 0 for never.
        recipe: how what was learned is mixed, as it was recorded last over this encoder, see
            `recipe.Recipe`; None if that is to be decided.
        distrusted: submitters whose labels do not count.
        false_alarms, coverage: what its head shall promise, see `promises.Wanted`.
        next_encoder: digest of a candidate's encoder, over which all that serves is to be learned
            too, see `ahead.py`; empty if there is none.
    """

    name: str
    encoder_digest: str
    epoch: int
    revision: int
    row_limit: int | None
    pinned_at: int
    anchor_set: int
    anchor_reference: int | None
    own_head_version: int = 0
    judged_at: int = 0
    distrusted: tuple[str, ...] = ()
    recipe: Mapping[str, Any] | None = field(default_factory=dict)
    false_alarms: float = FALSE_ALARMS
    coverage: float = COVERAGE
    next_encoder: str = ""


@dataclass(frozen=True, slots=True)
class Models:
    """All models that are served; sent on connection and after each change."""

    models: tuple[ModelState, ...]


@dataclass(frozen=True, slots=True)
class Wake:
    """The feedback log has grown up to `position`."""

    position: int


@dataclass(frozen=True, slots=True)
class Load:
    """How far serving is behind; said some times a second while there is any, and once after it.

    Attributes:
        idle: share of the engine's time that nothing was computed in, 0 to 1.
        delay_s: mean seconds that requests waited for the engine.
    """

    idle: float
    delay_s: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A label that was refused, with the numbers that decided.

    Attributes:
        why: "guard" if it cost anchor answers, "trust" if its submitter is not trusted.
    """

    position: int
    anchor_correct: int = 0
    anchor_reference: int = 0
    why: str = "guard"


@dataclass(frozen=True, slots=True, eq=False)
class Revision:
    """A newly learned head, offered under the epoch in which it was learned.

    Attributes:
        revision: log position up to which every entry of the model has been considered.
        head: the head; its arrays travel as raw bytes.
        learned: labels in effect behind it.
        learned_weight: how much they count beside the user's own head; 1 if there is none.
        learned_evidence: for that, in nats; 0 if there is no own head.
        anchor_correct: anchor answers that it gets right, of `anchor_total`.
        quarantined: labels refused on the way to it.
        recipe: how it was mixed, see `recipe.Recipe`; empty for class means and a discriminant.
        losses: of the experts on audits, see `recipe.losses`.
        calibration_error, brier: of held-out labels, see `scores.Calibration`.
        growing: whether more will come of the same labels: a larger regression is on its way.
        next_encoder: the candidate's encoder that it was learned over; empty for the one that
            serves. It serves only if the candidate does.
    """

    model: str
    epoch: int
    revision: int
    head: Head
    learned: int
    anchor_set: int
    anchor_correct: int
    anchor_total: int
    quarantined: tuple[Quarantine, ...] = ()
    learned_weight: float = 1.0
    learned_evidence: float = 0.0
    calibration_error: float = 0.0
    brier: float = 0.0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    growing: bool = False
    next_encoder: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A head, perhaps over a new encoder, that shall become a version if the gate lets it pass.

    Attributes:
        encoder_digest: an encoder that lies under `encoders/` already.
        log_position: position up to which it has learned.
        seed, hyper_parameters, metrics: recorded in the version's manifest.
        source: "candidate", or "import" if the head is one that its user has trained.
        round_id: the fine-tuning round that made it, empty if none did.
    """

    model: str
    encoder_digest: str
    log_position: int
    head: Head
    seed: int = 0
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    source: str = "candidate"
    round_id: str = ""


@dataclass(frozen=True, slots=True)
class Integers:
    """What a trainer found out about a model's answers in integers; see `precision.Evidence`.

    Attributes:
        encoder_digest: the encoder whose integer form was tried.
    """

    model: str
    encoder_digest: str
    labels: int
    holdout: int
    changed: float
    lost: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The server's answer to an offer.

    Attributes:
        number: the revision, or the version that a candidate became.
        outcome: "accepted", "promoted", "candidate" or "refused".
    """

    model: str
    number: int
    outcome: str
    reason: str


Message = (
    Hello
    | Models
    | Wake
    | Load
    | Revision
    | Candidate
    | Integers
    | Verdict
    | Round
    | Question
    | Reply
    | Distrust
    | Deleted
    | Grown
    | Unreadable
)

_NESTED: dict[type, dict[str, type]] = {
    Models: {"models": ModelState},
    Revision: {"quarantined": Quarantine},
    Train: {"models": RoundModel},
    Explained: {"influential": Reason, "nearest": Reason},
    Suspected: {"doubts": Doubt, "standings": Standing},
}
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Hello, Models, Wake, Load, Revision, Candidate, Integers, Verdict,
        Train, RoundProgress, VectorsReady, RoundEnded, Explain, Suspect, Explained, Suspected,
        Distrust, Deleted, Grown, Unreadable,
    )
}  # fmt: skip


def encode(message: Message) -> bytes:
    """A message as one frame."""
    header: dict[str, Any] = {"type": type(message).__name__}
    arrays: dict[str, NDArray[Any]] = {}
    for item in fields(message):
        value = getattr(message, item.name)
        if isinstance(value, Head):
            header["labels"] = list(value.labels)
            header["settings"] = value.settings()
            arrays.update(value.arrays())
        elif isinstance(value, np.ndarray):
            arrays[item.name] = value
        elif isinstance(value, tuple):
            header[item.name] = [asdict(part) for part in value]
        else:
            header[item.name] = dict(value) if isinstance(value, Mapping) else value
    return wire.pack(header, arrays)


def decode(frame: wire.Frame) -> Message:
    """The message of a frame.

    Raises:
        wire.FrameError: The header does not describe a known message.
    """
    header, arrays = dict(frame.header), frame.arrays
    try:
        kind = _TYPES[header.pop("type")]
        for name, part in _NESTED.get(kind, {}).items():
            header[name] = tuple(part(**entry) for entry in header[name])
        if "head" in {item.name for item in fields(kind)}:
            parts = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
            labels = tuple(header.pop("labels"))
            header["head"] = Head.of(labels, parts, header.pop("settings"))
        elif kind is Explain:
            header["vector"] = np.asarray(arrays["vector"], np.float32)
        message: Message = kind(**header)
    except (KeyError, TypeError, ValueError) as error:
        raise wire.FrameError(f"not a message between server and adapt process: {error}") from error
    return message
