"""The adapt process's work: follow the feedback log, learn each label, offer the revision.

Third stop of a label. Everything it keeps can be rebuilt: the log is the server's, the vectors are
a cache, the lanes are sums over them. It offers; the server decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt import messages
from honed_adapt.feedback_reader import FeedbackReader
from honed_adapt.feedback_values import Entry, Kind, State, text_hash
from honed_adapt.head import Head
from honed_adapt.lane import Lane, Row
from honed_adapt.vectors import VectorStore
from honed_adapt.versions import VersionError

log = structlog.get_logger(__name__)

Encode = Callable[[Sequence[str]], NDArray[np.float32]]

# Entries learned in one step: between steps the loop hears what the server has to say.
_STEP_ENTRIES = 64


@dataclass(slots=True)
class _Learner:
    """One model's lane and what surrounds it."""

    state: messages.ModelState
    lane: Lane
    encode: Encode
    revision: int
    # Refusals that no accepted offer has carried yet: they travel until the server has them.
    unconfirmed: list[messages.Quarantine] = field(default_factory=list)

    def considers(self, entry: Entry) -> bool:
        """Whether the entry makes a revision; deletions do even while learning is paused."""
        deletes = entry.kind is Kind.DELETION and entry.position > self.state.pinned_at
        return deletes or self.may_learn(entry.position)

    def may_learn(self, position: int) -> bool:
        """Whether a label at this position is wanted (after a rollback later ones are not)."""
        return self.state.row_limit is None or position <= self.state.row_limit


class AdaptLoop:
    """Learns for all models; driven by `hear` and `step`, so that it never waits by itself.

    Args:
        reader: The feedback log.
        vectors: Cache of encoded labels.
        make_encode: From an encoder's digest to its vector length and its function.
        load_head: From a model and its version to that version's head; raises VersionError.
        send: Sends a message to the server.
        guard_items: Anchor answers that a batch of labels may cost.
        trust: Trust by submitter, default 1.
    """

    def __init__(
        self,
        reader: FeedbackReader,
        vectors: VectorStore,
        *,
        make_encode: Callable[[str], tuple[int, Encode]],
        load_head: Callable[[str, int], Head],
        send: Callable[[messages.Message], None],
        guard_items: int,
        trust: Mapping[str, float],
    ) -> None:
        self._reader = reader
        self._vectors = vectors
        self._make_encode = make_encode
        self._load_head = load_head
        self._send = send
        self._guard_items = guard_items
        self._trust = trust
        self._encoders: dict[str, tuple[int, Encode]] = {}
        self._states: dict[str, messages.ModelState] = {}
        self._learners: dict[str, _Learner] = {}
        self._stale: set[str] = set()
        self._cursor: int | None = None
        self._known = 0

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._stale) or (self._cursor is not None and self._cursor < self._known)

    def lane(self, model: str) -> Lane:
        """The lane of a model that was built, to look at."""
        return self._learners[model].lane

    def lanes(self) -> list[tuple[messages.ModelState, int]]:
        """The models that are learned, and how many labels of each are in effect."""
        return [(self._states[n], one.lane.effective) for n, one in self._learners.items()]

    def hear(self, message: messages.Message) -> None:
        """Takes in what the server says."""
        match message:
            case messages.Models():
                self._take_models(message)
            case messages.Wake(position=position):
                self._known = max(self._known, position)
            case messages.Verdict(outcome="accepted"):
                self._confirm(message)
            case _:
                pass

    def step(self) -> None:
        """Builds one stale model, or learns the next entries of the log, and offers the result."""
        if self._stale:
            self._build(self._stale.pop())
            return
        assert self._cursor is not None, "step is called when busy"
        entries = self._reader.entries(self._cursor, _STEP_ENTRIES)
        self._cursor = entries[-1].position if entries else self._known
        for name in dict.fromkeys(entry.model for entry in entries):
            learner = self._learners.get(name)
            if learner is not None and name not in self._stale:
                # A lane that was built meanwhile may be ahead of the cursor.
                news = [e for e in entries if e.model == name and e.position > learner.revision]
                self._learn(learner, news)

    def _take_models(self, message: messages.Models) -> None:
        known = set(self._states)
        if self._cursor is None:
            # Read before any lane is built, so that no entry falls between the two.
            self._cursor = self._reader.last_position()
            known = self._vectors.models()
        states = {state.name: state for state in message.models}
        for gone in known - states.keys():
            self._learners.pop(gone, None)
            self._stale.discard(gone)
            self._vectors.forget_model(gone)
        for name, state in states.items():
            if _basis(state) != _basis(self._states.get(name)):
                self._stale.add(name)
        self._states = states

    def _confirm(self, verdict: messages.Verdict) -> None:
        learner = self._learners.get(verdict.model)
        if learner is None:
            return
        learner.unconfirmed = [q for q in learner.unconfirmed if q.position > verdict.number]
        limit = learner.state.row_limit
        # A deletion while learning is paused makes a revision that has not considered later rows.
        passed = verdict.number if limit is None else min(verdict.number, limit)
        self._vectors.accept(verdict.model, passed)

    def _build(self, name: str) -> None:
        """Builds a lane anew from the log and offers its head.

        Rows that an accepted revision has seen are taken as they stand; later ones pass the guard.
        """
        state = self._states[name]
        try:
            base = self._load_head(name, state.own_head_version) if state.own_head_version else None
        except VersionError as error:
            log.error("not learning: the own head cannot be read", model=name, why=str(error))
            self._learners.pop(name, None)
            return
        hidden, encode = self._encoder(state.encoder_digest)
        old = self._learners.get(name)
        unconfirmed = old.unconfirmed if old is not None else []
        lane = Lane(hidden, base=base, guard_items=self._guard_items, trust=self._trust)
        accepted = self._vectors.accepted(name) or state.revision
        revision, entries = self._reader.counting(name, state.row_limit, state.pinned_at)
        learner = self._learners[name] = _Learner(state, lane, encode, revision, unconfirmed)
        if gone := [entry.position for entry in entries if entry.state is State.DELETED]:
            self._vectors.delete(name, gone)  # it may have happened while nobody listened
        rows = self._rows(learner, entries)
        lane.rebuild([row for row in rows if row.position <= accepted])
        self._set_anchors(learner)
        later = [row for row in rows if row.position > accepted]
        for start in range(0, len(later), _STEP_ENTRIES):
            self._apply(learner, later[start : start + _STEP_ENTRIES])
        log.info("lane built", model=name, labels=lane.effective, revision=revision)
        if state.row_limit is None or revision > state.revision:
            # While learning is paused what serves is pinned as it is, whatever was said since.
            self._offer(learner)

    def _learn(self, learner: _Learner, entries: list[Entry]) -> None:
        """Learns new entries of one model and offers the revision they make."""
        lane, name = learner.lane, learner.state.name
        labels = [e for e in entries if e.text]
        rows = self._rows(learner, labels)
        self._apply(learner, [row for row in rows if row.position not in lane])
        removed: set[int] = set()  # a label may be retracted and deleted in one go
        for entry in entries:
            if entry.kind is Kind.RETRACTION and learner.may_learn(entry.position):
                removed.add(entry.retracts)
            elif entry.kind is Kind.DELETION:
                self._vectors.delete(name, entry.deletes)
                if any(position not in lane for position in entry.deletes):
                    # A retraction may be among them: its label counts again.
                    self._stale.add(name)
                removed.update(entry.deletes)
        lane.remove([position for position in removed if position in lane])
        considered = [e.position for e in entries if learner.considers(e)]
        if considered and name not in self._stale:
            learner.revision = max(learner.revision, *considered)
            self._offer(learner)

    def _apply(self, learner: _Learner, rows: list[Row]) -> None:
        outcome = learner.lane.apply(rows)
        for refused in outcome.quarantined:
            learner.unconfirmed.append(
                messages.Quarantine(refused.position, refused.correct, refused.reference)
            )

    def _rows(self, learner: _Learner, entries: Sequence[Entry]) -> list[Row]:
        """Entries that may be learned, each with its vector; encodes those that have none yet."""
        name, digest = learner.state.name, learner.state.encoder_digest
        refused = {quarantine.position for quarantine in learner.unconfirmed}
        live = [e for e in entries if e.state is State.ACTIVE and e.position not in refused]
        vectors = self._vectors.load(name, digest, [entry.position for entry in live])
        missing = [entry for entry in live if entry.position not in vectors]
        for start in range(0, len(missing), _STEP_ENTRIES):
            chunk = missing[start : start + _STEP_ENTRIES]
            encoded = learner.encode([entry.text for entry in chunk])
            fresh = {e.position: v for e, v in zip(chunk, encoded, strict=True)}
            self._vectors.put(name, digest, fresh)
            vectors.update(fresh)
        return [Row.of(e, vectors[e.position]) for e in live if learner.may_learn(e.position)]

    def _set_anchors(self, learner: _Learner) -> None:
        anchors = self._reader.anchors(learner.state.name)
        name, digest = learner.state.name, learner.state.encoder_digest
        hashes = [text_hash(text) for text, _ in anchors]
        vectors = self._vectors.load_anchors(name, digest)
        missing = [i for i, key in enumerate(hashes) if key not in vectors]
        if missing:
            encoded = learner.encode([anchors[i][0] for i in missing])
            fresh = {hashes[i]: v for i, v in zip(missing, encoded, strict=True)}
            self._vectors.put_anchors(name, digest, fresh)
            vectors.update(fresh)
        if vectors.keys() - set(hashes):
            self._vectors.keep_anchors(name, hashes)
        matrix = np.array([vectors[key] for key in hashes], np.float32)
        learner.lane.set_anchors(
            matrix.reshape(len(anchors), learner.lane.hidden),
            [label for _, label in anchors],
            learner.state.anchor_reference,
        )

    def _offer(self, learner: _Learner) -> None:
        lane, state = learner.lane, learner.state
        self._send(
            messages.Revision(
                model=state.name,
                epoch=state.epoch,
                revision=learner.revision,
                head=lane.head,
                learned=lane.effective,
                learned_weight=lane.weighing.weight,
                learned_evidence=lane.weighing.evidence,
                anchor_set=state.anchor_set,
                anchor_correct=lane.anchor_correct,
                anchor_total=lane.anchor_total,
                quarantined=tuple(learner.unconfirmed),
            )
        )

    def _encoder(self, digest: str) -> tuple[int, Encode]:
        """Opens an encoder once; those that no model names any more are dropped."""
        if digest not in self._encoders:
            used = {state.encoder_digest for state in self._states.values()}
            self._encoders = {d: e for d, e in self._encoders.items() if d in used}
            self._encoders[digest] = self._make_encode(digest)
        return self._encoders[digest]


def _basis(state: messages.ModelState | None) -> tuple[object, ...] | None:
    """What a lane is built on: when it changes the lane is built anew."""
    if state is None:
        return None
    return (
        state.encoder_digest,
        state.own_head_version,
        state.epoch,
        state.row_limit,
        state.anchor_set,
    )
