"""What the trainer of a fine-tuning round does, from the log to the candidates that it offers.

Run by `trainer_main.py`. It reads what the server has written and asks for nothing; if feedback
that it was trained on is deleted meanwhile, it starts over without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt.encoders.lineage import Lineage, base_of, trained_to
from honed_adapt.encoders.store import EncoderFiles, open_encoder
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.feedback.values import State, text_hash
from honed_adapt.head import Head
from honed_adapt.insight.promises import Wanted
from honed_adapt.process import messages
from honed_adapt.process.beside import ServerLine
from honed_adapt.storage import vectors_file
from honed_adapt.training.examples import Example, examples_of, in_effect, lacking
from honed_adapt.training.heads import compare, learn, row_of
from honed_adapt.training.tuning import Tuning
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.texts import encode_texts
from honed_server.rounds.champion import Champion
from honed_server.rounds.files import work_folder
from honed_server.serving.tokenizer import Tokenizer

log = structlog.get_logger(__name__)

_SLICE_TEXTS = 8
_TELL_S = 1.0
_STARTS = 3  # how often deletions may make a round start over
_CATCH_UPS = 2  # how often a head is learned again, for labels that came while it was learned

Vectors = Mapping[int, NDArray[np.float32]]
Encode = Callable[[Sequence[str]], Sequence[NDArray[np.float32]]]


class Unfit(Exception):
    """The round cannot come to anything; the message says why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The labels of one model as the log had them.

    Attributes:
        revision: log position up to which they stand so.
        deleted: log positions that were deleted.
        rows: all in effect that have a text, the anchors' too: the head learns from these.
        examples: those that train or are held out.
        anchors: hashes of the anchors' texts.
    """

    revision: int
    deleted: frozenset[int]
    rows: Sequence[Example]
    examples: Sequence[Example]


class RoundWork:
    """One round.

    Args:
        home: The data folder.
        order: What to train.
        line: To the server.
        trust: Trust by submitter.
    """

    def __init__(
        self, home: Path, order: messages.Train, line: ServerLine, trust: Mapping[str, float]
    ) -> None:
        self._home = home
        self._order = order
        self._line = line
        self._trust = trust
        self._phase, self._told_s = "", 0.0

    def run(self) -> messages.RoundEnded:
        """Trains, offers, and says how it went.

        Raises:
            Unfit: There is too little to train on, or feedback was deleted too often.
            ServerGone: There is nothing left to work for.
        """
        self._tell("training")
        for _ in range(_STARTS):
            ended = self._attempt()
            if ended is not None:
                return ended
            log.info("feedback was deleted meanwhile: the round starts over")
        raise Unfit("feedback was deleted each time before the round was through")

    def _attempt(self) -> messages.RoundEnded | None:
        """One training and its offers; None if what it saw was deleted meanwhile."""
        # torch takes a second to load and is needed from here on only.
        from honed_adapt.training.store import store_trained
        from honed_adapt.training.train import Surroundings, train

        order = self._order
        before = {model.name: self._read(model) for model in order.models}
        left_out = {name: why for name, one in before.items() if (why := lacking(one.examples))}
        if len(left_out) == len(before):
            raise Unfit("; ".join(f"{name}: {why}" for name, why in left_out.items()))
        before = {name: one for name, one in before.items() if name not in left_out}
        examples = [one for snapshot in before.values() for one in snapshot.examples]
        base = open_encoder(self._home, base_of(self._home, order.encoder_digest))
        tokenizer = Tokenizer(base)
        around = Surroundings(
            tokenise=lambda texts: [tokens.ids for tokens in tokenizer.tokenise(texts)],
            pause=self._line.pause,
            report=partial(self._tell, "training"),
            work=work_folder(self._home, order.round_id),
        )
        tuning, tried = self._tuning(base, examples, around)
        champion = Champion(self._home, order)
        says = partial(champion.says, softening=tuning.softening)
        trained = train(base, examples, tuning, around, says)
        self._tell("checking")
        seen = dict(champion.heard)
        for name, one in before.items():
            seen[name] = max(one.revision, seen.get(name, 0))
        lineage = Lineage(
            base=base.digest, parent=order.encoder_digest, round_id=order.round_id,
            kind=order.kind, trained_to=seen,
        )  # fmt: skip
        digest = store_trained(self._home, base, trained, lineage)
        facts = {
            "tuning": asdict(tuning), "tried": tried, "cpu_s": round(trained.cpu_s, 1),
            "steps": trained.progress.step, "scores": trained.progress.scores,
            "examples": len(examples), "left_out": left_out,
        }  # fmt: skip
        return self._offer(digest, before, facts)

    def _tuning(
        self, base: EncoderFiles, examples: Sequence[Example], around: Any
    ) -> tuple[Tuning, Sequence[Mapping[str, float]]]:
        tuning = Tuning.of("full" if self._order.kind == "full" else "adapter", self._order.seed)
        if not self._order.trials:
            return tuning, []
        from honed_adapt.training.search import Budget, search

        found = search(base, examples, tuning, Budget(self._order.trials), around)
        return found.tuning, found.tried

    def _read(self, model: messages.RoundModel) -> Snapshot:
        with FeedbackReader(self._home / "feedback.sqlite") as reader:
            revision, entries = reader.counting(model.name, model.row_limit, model.pinned_at)
            anchors = {text_hash(text) for text, _ in reader.anchors(model.name)}
        seen_to = trained_to(self._home, self._order.encoder_digest, model.name)
        standing = in_effect(entries, self._trust)
        return Snapshot(
            revision,
            frozenset(entry.position for entry in entries if entry.state is State.DELETED),
            examples_of(model.name, standing, (), seen_to),
            examples_of(model.name, standing, anchors, seen_to),
        )

    def _offer(
        self, digest: str, before: Mapping[str, Snapshot], facts: Mapping[str, Any]
    ) -> messages.RoundEnded | None:
        """Offers each model a head over the new encoder, learned from all that there is by then."""
        files = open_encoder(self._home, digest)
        encode = self._encode_slices(files)
        vectors: dict[str, dict[int, NDArray[np.float32]]] = {name: {} for name in before}
        judged = {}
        for name, snapshot in before.items():  # what is slow and needs nothing new comes first
            _encode_missing(snapshot, vectors[name], encode)
            judged[name] = self._compare(name, snapshot, vectors[name])
        models = [model for model in self._order.models if model.name in before]
        if any(self._read_on(m, before[m.name], vectors[m.name], encode) is None for m in models):
            return None
        vectors_file.leave(self._home, digest, vectors)
        self._line.send(messages.VectorsReady(digest))
        outcomes = {name: f"left out ({why})" for name, why in facts["left_out"].items()}
        for model in models:
            name = model.name
            learned = self._learn(model, before[name], vectors[name], encode, files.hidden)
            if learned is None:
                return None
            verdict = self._judged(model, digest, *learned, {**facts, **judged[name]})
            if verdict.outcome == "stale":
                return None
            outcomes[name] = f"{verdict.outcome} ({verdict.reason})"
        reason = "; ".join(f"{name}: {outcome}" for name, outcome in outcomes.items())
        return messages.RoundEnded(
            self._order.round_id, "done", reason, digest, {**facts, "models": judged}
        )

    def _encode_slices(self, files: EncoderFiles) -> Encode:
        encode = partial(encode_texts, OnnxEncoder(files), Tokenizer(files))

        def in_slices(texts: Sequence[str]) -> list[NDArray[np.float32]]:
            found: list[NDArray[np.float32]] = []
            for start in range(0, len(texts), _SLICE_TEXTS):
                self._line.pause()
                found += list(encode(texts[start : start + _SLICE_TEXTS]))
                self._tell("checking")
            return found

        return in_slices

    def _read_on(
        self, model: messages.RoundModel, before: Snapshot,
        vectors: dict[int, NDArray[np.float32]], encode: Encode,
    ) -> Snapshot | None:  # fmt: skip
        """The labels as they are now, each encoded; None if one that was trained on is deleted."""
        now = self._read(model)
        if any(one.position in now.deleted for one in before.examples):
            return None
        _encode_missing(now, vectors, encode)
        return now

    def _learn(
        self, model: messages.RoundModel, before: Snapshot,
        vectors: dict[int, NDArray[np.float32]], encode: Encode, hidden: int,
    ) -> tuple[int, Head] | None:  # fmt: skip
        """A head, and up to where it has learned; None if what was trained on is deleted."""
        wanted = Wanted(model.false_alarms, model.coverage)
        learned: tuple[int, Head] | None = None
        for _ in range(1 + _CATCH_UPS):
            now = self._read_on(model, before, vectors, encode)
            if now is None:
                return None
            if learned is not None and learned[0] == now.revision:
                break
            rows = [row_of(one, vectors[one.position]) for one in now.rows]
            head = Head.empty(hidden)
            if rows:
                head = learn(rows, hidden, self._line.pause, wanted, tuned=True)
            learned = now.revision, head
        return learned

    def _compare(self, model: str, snapshot: Snapshot, vectors: Vectors) -> dict[str, Any]:
        positions = [one.position for one in snapshot.examples]
        known = Champion(self._home, self._order).vectors(model, positions)
        found = compare(snapshot.examples, vectors, known, self._line.pause)
        return {} if found is None else found.as_dict()

    def _judged(
        self, model: messages.RoundModel, digest: str, revision: int, head: Head,
        metrics: Mapping[str, Any],
    ) -> messages.Verdict:  # fmt: skip
        self._line.send(
            messages.Candidate(
                model=model.name, encoder_digest=digest, log_position=revision, head=head,
                seed=self._order.seed, hyper_parameters=metrics["tuning"],
                metrics={name: value for name, value in metrics.items() if name != "tuning"},
                round_id=self._order.round_id,
            )
        )  # fmt: skip
        while not isinstance(heard := self._line.hear(), messages.Verdict):
            pass
        return heard

    def _tell(self, phase: str, step: int = 0, steps: int = 0, remaining_s: float = 0.0) -> None:
        """Says where the round stands, in one phase at most once a second."""
        if phase == self._phase and monotonic() - self._told_s < _TELL_S:
            return
        self._phase, self._told_s = phase, monotonic()
        self._line.send(
            messages.RoundProgress(self._order.round_id, phase, step, steps, remaining_s)
        )


def _encode_missing(
    snapshot: Snapshot, vectors: dict[int, NDArray[np.float32]], encode: Encode
) -> None:
    missing = [one for one in snapshot.rows if one.position not in vectors]
    encoded = encode([one.text for one in missing])
    vectors.update({one.position: v for one, v in zip(missing, encoded, strict=True)})
