"""The adapt process's work: follow the feedback log, learn each label, offer the revision.

Third stop of a label. Everything it keeps can be rebuilt: the log is the server's, the vectors are
a cache, the lanes are sums over them. It offers; the server decides.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import structlog

from honed_adapt.encoders.store import EncoderDamaged
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.feedback.values import Entry, State
from honed_adapt.head import Head
from honed_adapt.insight.promises import Promises, Wanted
from honed_adapt.instant.lane import Lane, Recipe, Row
from honed_adapt.instant.parking import Parking
from honed_adapt.process import messages
from honed_adapt.process.ahead import Ahead, Encode
from honed_adapt.process.answers import answer
from honed_adapt.process.findings import Deleted, Unreadable
from honed_adapt.process.learner import CHUNK, Learner, basis, same_ground
from honed_adapt.process.questions import Explain, Suspect
from honed_adapt.process.recheck import Rechecks
from honed_adapt.storage.vectors import VectorStore
from honed_adapt.storage.versions import VersionError
from honed_adapt.trust.sentinel import Sentinel

log = structlog.get_logger(__name__)


class AdaptLoop:
    """Learns for all models; driven by `hear` and `step`, so that it never waits by itself.

    Args:
        reader: The feedback log.
        vectors: Cache of encoded labels.
        make_encode: From an encoder's digest to its vector length and its function.
        was_tuned: From an encoder's digest to whether a round made it.
        load_head: From a model and its version to that version's head; raises VersionError.
        send: Sends a message to the server.
        guard_items: Anchor answers that a batch of labels may cost.
        trust: Trust by submitter, default 1.
        pause: Called before each slice of long work.
        spare: Entered around each slice that nobody waits for; says whether to do it now, and is
            told whether labels that are there already can wait for it.
        parking: Keeps idle models' matrices out of memory, None for those of all in it.
    """

    def __init__(
        self,
        reader: FeedbackReader,
        vectors: VectorStore,
        *,
        make_encode: Callable[[str], tuple[int, Encode]],
        load_head: Callable[[str, int], Head],
        was_tuned: Callable[[str], bool] = lambda digest: False,
        send: Callable[[messages.Message], None],
        guard_items: int,
        trust: Mapping[str, float],
        pause: Callable[[], None] = lambda: None,
        spare: Callable[[bool], AbstractContextManager[bool]] = lambda patient: nullcontext(True),
        parking: Parking | None = None,
    ) -> None:
        self._reader = reader
        self._vectors = vectors
        self._make_encode = make_encode
        self._load_head = load_head
        self._was_tuned = was_tuned
        self._send = send
        self._lane = partial(Lane, guard_items=guard_items, trust=trust)
        self._pause = pause
        self._spare = spare
        self._parking = parking
        self._trusted = frozenset(name for name, worth in trust.items() if worth >= 1)
        self._rechecks = Rechecks(lambda *found: send(Deleted(*found)))
        self._encoders: dict[str, tuple[int, Encode]] = {}
        self._states: dict[str, messages.ModelState] = {}
        self._learners: dict[str, Learner] = {}
        self._stale: set[str] = set()
        self._cursor: int | None = None
        self._known = 0

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do."""
        waiting = self._cursor is not None and self._cursor < self._known
        return waiting or bool(self._stale or self._working() or self._behind())

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
            case Explain() | Suspect():
                learner = self._learners.get(message.model)
                built = learner is not None and message.model not in self._stale
                lane = learner.lane if learner and built else None
                self._send(answer(message, lane, self._trusted))
            case _:
                pass

    def step(self) -> None:
        """Builds one stale model, or learns the next entries of the log, and offers the result.

        While labels come one by one, what nobody waits for is done between them; in a backlog it
        goes along, or the first labels would be learned with what the last ones need. A larger
        regression serves from the next label on, or, when none comes, from a position asked for.
        """
        if self._stale:
            self._build(self._stale.pop())
            return
        read = 0
        if self._cursor is not None and self._cursor < self._known:
            read = self._read(self._cursor)
        if 0 < read < CHUNK:
            return
        for learner in self._behind() if not read else ():
            with self._spare(False) as now:
                if now and learner.prepare():
                    self._offer(learner)
            return
        for learner in self._working():
            with self._spare(read == CHUNK) as now:
                if now and learner.lane.busy:
                    learner.lane.work()
                    self._used(learner)
                elif now and not read:
                    self._send(learner.ask())
            break

    def _used(self, learner: Learner) -> None:
        if self._parking is not None:
            self._parking.used(learner.lane)

    def _working(self) -> list[Learner]:
        """Those that have something to do when nobody waits."""
        return [one for one in self._learners.values() if not one.idle]

    def _behind(self) -> list[Learner]:
        return [one for one in self._learners.values() if one.behind]

    def _read(self, cursor: int) -> int:
        """Learns the next entries after a position; returns how many there were."""
        entries = self._reader.entries(cursor, CHUNK)
        self._cursor = entries[-1].position if entries else self._known
        for name in dict.fromkeys(entry.model for entry in entries):
            if (learner := self._learners.get(name)) is not None and name not in self._stale:
                # A lane that was built meanwhile may be ahead of the cursor.
                news = [e for e in entries if e.model == name and e.position > learner.revision]
                self._learn(learner, news)
        return len(entries)

    def _take_models(self, message: messages.Models) -> None:
        before, self._states = self._states, {state.name: state for state in message.models}
        known = set(before)
        if self._cursor is None:
            # Read before any lane is built, so that no entry falls between the two.
            self._cursor = self._reader.last_position()
            known = self._vectors.models()
        for gone in known - self._states.keys():
            left = self._learners.pop(gone, None)
            if left is not None and self._parking is not None:
                self._parking.gone(left.lane)
            self._stale.discard(gone)
            self._vectors.forget_model(gone)
        for name, state in self._states.items():
            if basis(state) != basis(before.get(name)):
                self._stale.add(name)
            if (learner := self._learners.get(name)) is not None:
                learner.sentinel.distrust(*state.distrusted)
                self._look_ahead(learner, state)

    def _look_ahead(self, learner: Learner, state: messages.ModelState) -> None:
        """Has a candidate catch up, or takes over the lane of one that serves now."""
        wanted, ahead = state.next_encoder, learner.ahead
        if ahead is not None and ahead.ready and ahead.digest == state.encoder_digest:
            left = learner.adopt()
            if self._parking is not None:
                self._parking.gone(left)
        elif ahead is None or ahead.digest != wanted:
            learner.ahead = self._ahead(state) if wanted else None

    def _ahead(self, state: messages.ModelState) -> Ahead | None:
        try:
            hidden, encode = self._encoder(state.next_encoder)
        except (EncoderDamaged, FileNotFoundError, PermissionError) as error:
            log.error("a candidate cannot catch up", model=state.name, why=str(error))
            self._send(Unreadable(state.name, state.next_encoder, str(error)))
            return None
        lane = self._lane(hidden, tuned=self._was_tuned(state.next_encoder))
        return Ahead(state.name, state.next_encoder, lane, encode, self._vectors)

    def _confirm(self, verdict: messages.Verdict) -> None:
        if (learner := self._learners.get(verdict.model)) is not None:
            self._vectors.accept(verdict.model, learner.confirm(verdict.number))

    def _build(self, name: str) -> None:
        """Builds a lane anew from the log and offers its head.

        Rows that an accepted revision has seen are taken as they stand; later ones pass the guard.
        """
        state = self._states[name]
        try:
            base = self._load_head(name, state.own_head_version) if state.own_head_version else None
            hidden, encode = self._encoder(state.encoder_digest)
        except (VersionError, EncoderDamaged, FileNotFoundError, PermissionError) as error:
            log.error("not learning: head or encoder cannot be read", model=name, why=str(error))
            self._learners.pop(name, None)
            return
        old = self._learners.get(name)
        if old is not None and same_ground(old.state, state):
            lane = old.lane
        else:
            lane = self._lane(hidden, base=base, tuned=self._was_tuned(state.encoder_digest))
        accepted = self._vectors.accepted(name) or state.revision
        revision, entries = self._reader.counting(name, state.row_limit, state.pinned_at)
        promises = Promises({} if old else self._vectors.misses(name))
        learner = Learner(state, lane, encode, revision, promises=promises)
        if old is not None:
            learner.inherit(old)
        learner.sentinel = Sentinel(self._trusted, state.distrusted)
        learner.texts = partial(self._reader.texts, name, state.row_limit, state.pinned_at)
        self._learners[name] = learner
        if gone := [entry.position for entry in entries if entry.state is State.DELETED]:
            self._vectors.delete(name, gone)  # it may have happened while nobody listened
            learner.promises.forget(gone)
        rows = learner.rows(self._vectors, entries)
        # What nothing was learned for yet has none, nor has an encoder that is new to the model.
        recipe = Recipe.of(state.recipe) if accepted and state.recipe is not None else None
        if old is not None and lane is old.lane and old.state.epoch == state.epoch:
            recipe = lane.recipe  # decided since the server said what is on record
        votes = self._vectors.votes(name, state.encoder_digest)
        seen = [row for row in rows if row.position <= accepted]
        lane.rebuild(seen, recipe, votes, self._pause)
        learner.set_anchors(self._vectors, self._reader.anchors(name))
        later = [row for row in rows if row.position > accepted]
        for start in range(0, len(later), CHUNK):
            self._apply(learner, later[start : start + CHUNK])
        learner.follow()
        self._look_ahead(learner, state)
        log.info("lane built", model=name, labels=lane.effective, revision=revision)
        if state.row_limit is None or revision > state.revision:
            # While learning is paused what serves is pinned as it is, whatever was said since.
            self._offer(learner)

    def _learn(self, learner: Learner, entries: list[Entry]) -> None:
        """Learns new entries of one model and offers the revision they make."""
        name, labels = learner.state.name, [e for e in entries if e.text_hash]
        rows = learner.rows(self._vectors, labels)
        self._apply(learner, [row for row in rows if row.position not in learner.lane])
        if learner.heed(entries, partial(self._vectors.delete, name)):
            self._stale.add(name)
        learner.follow(labels)
        considered = [e.position for e in entries if learner.considers(e)]
        if considered and name not in self._stale:
            learner.revision = max(learner.revision, *considered)
            self._offer(learner)
            for suspicion in learner.suspicions() if labels else ():
                self._send(suspicion)

    def _apply(self, learner: Learner, rows: list[Row]) -> None:
        kept = learner.screen(rows)
        state = learner.state
        noted = learner.promises.test(learner.lane.unknown_audits(kept))
        self._vectors.put_misses(state.name, noted)
        learner.apply(kept)
        self._vectors.put_votes(state.name, state.encoder_digest, learner.votes_of(kept))

    def _offer(self, learner: Learner) -> None:
        state = self._states.get(learner.state.name, learner.state)
        for offer in learner.offers(Wanted(state.false_alarms, state.coverage)):
            self._send(offer)
        self._used(learner)
        if learner.deletions:
            self._rechecks.begin(state.name, learner.deletions, learner.lane)
            learner.deletions = []

    def _encoder(self, digest: str) -> tuple[int, Encode]:
        """Opens an encoder once; those that no model names any more are dropped."""
        if digest not in self._encoders:
            states = self._states.values()
            used = {d for state in states for d in (state.encoder_digest, state.next_encoder)}
            self._encoders = {d: e for d, e in self._encoders.items() if d in used}
            self._encoders[digest] = self._make_encode(digest)
        return self._encoders[digest]
