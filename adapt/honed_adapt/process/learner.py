"""One model as the adapt process learns it: its lane, and what surrounds the lane.

It stands inside `loop.py`, which feeds it and offers what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from honed_adapt.feedback.values import Entry, Kind, State, text_hash
from honed_adapt.insight.promises import Promises, Wanted
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.instant.recipe import Vote, losses
from honed_adapt.process import messages
from honed_adapt.process.ahead import Ahead, Encode, Texts
from honed_adapt.process.findings import Distrust, Grown
from honed_adapt.storage.vectors import VectorStore
from honed_adapt.trust.sentinel import Sentinel

log = structlog.get_logger(__name__)

CHUNK = 64
"""Entries learned in one step: between steps the loop hears what the server has to say."""


@dataclass(slots=True)
class Learner:
    """One model's lane and what surrounds it."""

    state: messages.ModelState
    lane: Lane
    encode: Encode
    revision: int
    # Refusals that no accepted offer has carried yet: they travel until the server has them.
    unconfirmed: list[messages.Quarantine] = field(default_factory=list)
    promises: Promises = field(default_factory=Promises)
    sentinel: Sentinel = field(default_factory=Sentinel)
    # Deletions that the next offer carries out, and that are checked after it.
    deletions: list[int] = field(default_factory=list)
    # The revision at which a position was asked for, for a regression that is ready.
    asked_at: int = -1
    # The same over a candidate's encoder while the server wants that, and the texts for it.
    ahead: Ahead | None = None
    texts: Texts = dict

    @property
    def behind(self) -> bool:
        """Whether a candidate is to catch up, see `prepare`."""
        return self.ahead is not None and not self.ahead.ready

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do even when nobody waits; so while learning is paused."""
        asks = self.lane.ready and self.asked_at != self.revision
        return self.state.row_limit is not None or not (self.lane.busy or asks)

    def ask(self) -> Grown:
        """Ask for a log position from which on the regression that is ready may serve."""
        self.asked_at = self.revision
        return Grown(self.state.name, self.state.epoch)

    def offers(self, wanted: Wanted) -> Iterator[messages.Revision]:
        """What was learned up to the present revision, with the thresholds that are wanted.

        Over a candidate's encoder first: so the server never serves what the candidate lacks.
        """
        if self.ahead is not None and self.ahead.ready:
            promises = Promises(self.promises.misses)
            offer = self._offer(self.ahead.lane, promises, wanted)
            yield replace(offer, next_encoder=self.ahead.digest)
        yield self._offer(self.lane, self.promises, wanted)

    def _offer(self, lane: Lane, promises: Promises, wanted: Wanted) -> messages.Revision:
        head = promises.add(lane.head, lane.sampled, wanted)
        return messages.Revision(
            model=self.state.name,
            epoch=self.state.epoch,
            revision=self.revision,
            head=head,
            learned=lane.effective,
            learned_weight=lane.weighing.weight,
            learned_evidence=lane.weighing.evidence,
            anchor_set=self.state.anchor_set,
            anchor_correct=lane.anchor_correct,
            anchor_total=lane.anchor_total,
            quarantined=tuple(self.unconfirmed),
            calibration_error=promises.calibration.error,
            brier=promises.calibration.brier,
            recipe=lane.recipe.numbers(),
            losses=losses(lane.votes),
            growing=lane.growing,
        )

    def inherit(self, old: Learner) -> None:
        """Go on from what was known of the same model before its lane is built anew."""
        self.unconfirmed, self.deletions, self.ahead = old.unconfirmed, old.deletions, old.ahead
        # Over another encoder the head that was promised of answers other vectors.
        same = self.lane is old.lane
        self.promises = old.promises if same else Promises(old.promises.misses)

    def confirm(self, revision: int) -> int:
        """Note that the server accepted a revision; returns up to where the guard has passed all.

        A deletion while learning is paused makes a revision that has not considered later rows.
        """
        self.unconfirmed = [one for one in self.unconfirmed if one.position > revision]
        limit = self.state.row_limit
        return revision if limit is None else min(revision, limit)

    def prepare(self) -> bool:
        """Do a slice of what a candidate needs to catch up; returns whether it has."""
        assert self.ahead is not None
        self.ahead.prepare(self.lane, self.texts)
        return self.ahead.ready

    def follow(self, news: Sequence[Entry] | None = None) -> None:
        """Let the lane over a candidate's encoder have what the one that serves has learned.

        Args:
            news: all that was learned since, None if that is to be looked up.
        """
        if self.ahead is not None and self.ahead.ready:
            known = {entry.position: entry.text for entry in news or () if entry.text}
            self.ahead.follow(self.lane, self.texts if news is None else lambda: known)

    def adopt(self) -> Lane:
        """Go on with the lane over the candidate's encoder, which serves; returns the other one."""
        assert self.ahead is not None
        left, self.lane, self.encode = self.lane, self.ahead.lane, self.ahead.encode
        self.promises = Promises(self.promises.misses)  # the head that it served is another's
        self.state = replace(self.state, encoder_digest=self.ahead.digest, own_head_version=0)
        self.ahead = None
        return left

    def considers(self, entry: Entry) -> bool:
        """Whether the entry makes a revision; deletions do even while learning is paused."""
        deletes = entry.kind is Kind.DELETION and entry.position > self.state.pinned_at
        return deletes or self.may_learn(entry.position)

    def may_learn(self, position: int) -> bool:
        """Whether a label at this position is wanted (after a rollback later ones are not)."""
        return self.state.row_limit is None or position <= self.state.row_limit

    def rows(self, store: VectorStore, entries: Sequence[Entry]) -> list[Row]:
        """Entries that may be learned, each with its vector; encodes those that have none yet."""
        name, digest = self.state.name, self.state.encoder_digest
        refused = {quarantine.position for quarantine in self.unconfirmed}
        live = [e for e in entries if e.state is State.ACTIVE and e.position not in refused]
        vectors = store.load(name, digest, [entry.position for entry in live])
        missing = [entry for entry in live if entry.position not in vectors and entry.text]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            encoded = self.encode([entry.text for entry in chunk])
            fresh = {e.position: v for e, v in zip(chunk, encoded, strict=True)}
            store.put(name, digest, fresh)
            vectors.update(fresh)
        if lost := sum(entry.position not in vectors for entry in live):
            log.warning("labels without text or vector are not learned", model=name, labels=lost)
        usable = [e for e in live if e.position in vectors and self.may_learn(e.position)]
        return [Row.of(entry, vectors[entry.position]) for entry in usable]

    def set_anchors(self, store: VectorStore, anchors: Sequence[tuple[str, str]]) -> None:
        """Put these texts and labels in place as anchors; encodes those that are new."""
        name, digest = self.state.name, self.state.encoder_digest
        hashes = [text_hash(text) for text, _ in anchors]
        vectors = store.load_anchors(name, digest)
        missing = [i for i, key in enumerate(hashes) if key not in vectors]
        if missing:
            encoded = self.encode([anchors[i][0] for i in missing])
            fresh = {hashes[i]: v for i, v in zip(missing, encoded, strict=True)}
            store.put_anchors(name, digest, fresh)
            vectors.update(fresh)
        if vectors.keys() - set(hashes):
            store.keep_anchors(name, hashes)
        matrix = np.array([vectors[key] for key in hashes], np.float32)
        self.lane.set_anchors(
            matrix.reshape(len(anchors), self.lane.hidden),
            [label for _, label in anchors],
            self.state.anchor_reference,
        )

    def votes_of(self, rows: Sequence[Row]) -> dict[int, Vote]:
        """What these rows voted, those of them that did."""
        votes = self.lane.votes
        return {row.position: votes[row.position] for row in rows if row.position in votes}

    def screen(self, rows: Sequence[Row]) -> list[Row]:
        """Leave out what distrusted submitters say."""
        kept, aside = self.sentinel.screen(rows)
        self.unconfirmed += [messages.Quarantine(row.position, why="trust") for row in aside]
        return kept

    def apply(self, rows: Sequence[Row]) -> None:
        """Learn rows; what the guard refuses is remembered for the next offer."""
        for refused in self.lane.apply(rows).quarantined:
            self.unconfirmed.append(
                messages.Quarantine(refused.position, refused.correct, refused.reference)
            )

    def heed(self, entries: Sequence[Entry], erase: Callable[[Sequence[int]], None]) -> bool:
        """Do what entries say that are no labels.

        Args:
            entries: new ones of this model, in log order.
            erase: erases the vectors of these positions.

        Returns:
            Whether the lane must be built anew.
        """
        anew = False
        removed: set[int] = set()  # a label may be retracted and deleted in one go
        for entry in entries:
            if entry.kind is Kind.RETRACTION and self.may_learn(entry.position):
                removed.add(entry.retracts)
            elif entry.kind is Kind.DELETION:
                erase(entry.deletes)
                # A retraction may be among them: its label counts again.
                anew = anew or any(position not in self.lane for position in entry.deletes)
                removed.update(entry.deletes)
                self.deletions.append(entry.position)
            elif entry.kind is Kind.DISTRUST and self.may_learn(entry.position):
                removed.update(entry.sets_aside)
            elif entry.kind is Kind.GROWTH and self.may_learn(entry.position):
                self.lane.take_over()
        self.lane.remove([position for position in removed if position in self.lane])
        self.promises.forget(removed)
        return anew

    def suspicions(self) -> Iterator[Distrust]:
        """Whom the others' labels contradict, looked into when enough was learned since."""
        if not self.sentinel.due(self.lane) or self.state.row_limit is not None:
            return
        for one in self.sentinel.review(self.lane):
            standing = one.standing
            yield Distrust(
                model=self.state.name,
                epoch=self.state.epoch,
                submitter=standing.submitter,
                positions=list(one.positions),
                labels=standing.labels,
                judged=standing.judged,
                agreement=standing.agreement,
                agreement_high=standing.high,
                others_low=standing.others_low,
            )


def same_ground(one: messages.ModelState, other: messages.ModelState) -> bool:
    """Whether the lane of one can go on as that of the other."""
    return (one.encoder_digest, one.own_head_version) == (
        other.encoder_digest,
        other.own_head_version,
    )


def basis(state: messages.ModelState | None) -> tuple[object, ...] | None:
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
