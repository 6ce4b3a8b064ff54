"""Whole lives of a model that is offered candidates no better than what serves, and restarts.

For `figures/gate.py` and `learning/product.py`. Answers are drawn at random. All else is what a
server does: its book of trials counts the candidates, the gate judges, labels go to the feedback
log, which says what votes, and a restart knows no more than those two files.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from honed_adapt.feedback.log import Ack, FeedbackLog, Kind, NewFeedback
from honed_adapt.gate.evidence import Demands
from honed_adapt.gate.paired import Paired
from honed_adapt.gate.policy import Policy
from honed_adapt.gate.simulation import Ending, Setup, first_look, paired, trial
from honed_adapt.gate.trials import Vote
from honed_loadtest.statistics import at_most
from honed_server.models.decisions import decision
from honed_server.models.policies import demands_of
from honed_server.models.registry import Registry, VersionRow, VersionState
from honed_server.trials.book import TrialBook, TrialRow, VoteRow
from honed_server.trials.turns import Turn, ending

RESTART_EVERY = 20
"""A restart falls into the middle of the trial of each so-many-th candidate."""

CORRECTED_TEXTS = 300
"""Texts asked during a trial where only errors are labelled: they earn a rival twelve wins."""

_MODEL = "m"
_MEMORY = Path("/dev/shm")
_REFUSED, _CANDIDATE = VersionState.REFUSED, VersionState.CANDIDATE


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is labelled of the texts that are asked during a trial.

    Attributes:
        kind: What the labels say of themselves.
        complete: Whether every text is labelled; else only where what serves was wrong.
    """

    kind: Kind
    complete: bool


AUDITED = Feedback(Kind.AUDIT, complete=True)
CORRECTED = Feedback(Kind.CORRECTION, complete=False)
MISNAMED = Feedback(Kind.AUDIT, complete=False)
"""Corrections that are sent as audits: what would come of it if corrections did vote."""


def lives(
    scratch: Path, setup: Setup, feedback: Feedback, count: int, candidates: int, seed: int = 0
) -> dict[str, float]:
    """In how many lives what is no better is promoted, and how many there may be at most.

    Args:
        scratch: Where files are made if the machine keeps none in memory.
        setup: How the candidates and what serves answer.
        feedback: What is labelled.
        count: How many lives.
        candidates: How many candidates are offered in each.
        seed: Of the first life; each has its own.
    """
    # How durable the files are is not the question, and a million waits for a disk take hours.
    memory = _MEMORY if _MEMORY.is_dir() else scratch
    endings = []
    for number in range(count):
        with TemporaryDirectory(prefix="honed-life-", dir=memory) as folder:
            endings.append(life(Path(folder), setup, feedback, candidates, seed + number))
    promoted = [sum(one.outcome == "promoted" for one in each) for each in endings]
    with_one = sum(map(bool, promoted))
    return {
        "lives": count,
        "candidates_each": candidates,
        "restarts_each": candidates // RESTART_EVERY,
        "lives_with_one": with_one,
        "at_most": at_most(with_one, count),
        "promoted": sum(promoted),
    }


def life(
    folder: Path, setup: Setup, feedback: Feedback, candidates: int, seed: int
) -> list[Ending]:
    """What becomes of so many candidates of one model, one after the other.

    Args:
        folder: Where its files are made; empty.
        setup: How the candidates and what serves answer.
        feedback: What is labelled.
        candidates: How many are offered.
        seed: Of what is drawn.
    """
    random = np.random.default_rng(seed)
    with closing(Record(folder, setup.alpha)) as record:
        return [_candidate(record, setup, feedback, random) for _ in range(candidates)]


def _candidate(
    record: "Record", setup: Setup, feedback: Feedback, random: np.random.Generator
) -> Ending:
    anchors = setup.votes(setup.anchors, random)
    number, outcome = record.offer(anchors)
    if outcome != "candidate":
        return Ending(outcome, 0)
    texts = setup.votes(setup.texts, random)
    # Without a restart the trial may as well be looked at when all is said.
    before = len(texts) // 2 if number % RESTART_EVERY == 0 else len(texts)
    ended = _heard(record, feedback, texts[:before])
    if ended.outcome == "open" and before < len(texts):
        record.restart()
        ended = _heard(record, feedback, texts[before:])
    record.end(ended)
    return ended


def _heard(record: "Record", feedback: Feedback, texts: Sequence[Vote]) -> Ending:
    """How the trial stands when these texts are labelled, too."""
    if feedback.complete:
        record.vote(texts)
    else:
        record.submit([one for one in texts if not one.serving_right], feedback.kind)
    anchor, demands = record.on_trial()
    return trial(anchor, record.votes(), demands)


class Record:
    """A model on a server's record, as the server writes it and reads it after a restart.

    Args:
        folder: Where its files are.
        alpha: Share of false promotions that is borne.

    Attributes:
        trial: The trial that goes on.
    """

    def __init__(self, folder: Path, alpha: float) -> None:
        self._folder = folder
        self._policy = Policy(alpha=alpha)
        self._audited: list[Vote] = []
        self._labels: dict[int, str] = {}
        self._open()

    def _open(self) -> None:
        self._registry = Registry(self._folder / "registry.sqlite")
        self._book = TrialBook(self._registry)
        self._log = FeedbackLog(self._folder / "feedback.sqlite")
        self.trial: TrialRow | None = next(iter(self._book.open_trials()), None)

    def restart(self) -> None:
        """Closes the files and opens them again."""
        if self.trial is not None:
            first = len(self._labels) + 1
            self._labels |= {at: one.label for at, one in enumerate(self._audited, first)}
            rows = _rows(range(first, first + len(self._audited)), self._audited)
            self._book.add_votes(self.trial.trial, rows)
        self._audited = []
        self.close()
        self._open()

    def close(self) -> None:
        """Closes the files."""
        self._log.close()
        self._registry.close()

    def offer(self, anchors: Sequence[Vote]) -> tuple[int, str]:
        """Takes the next candidate that answers the anchor set so, and tries it if that is open.

        Returns:
            Its number, and what the gate says at the first look.
        """
        number = self._book.candidates(_MODEL) + 1
        demands = demands_of(self._policy, number)
        verdict = first_look(anchors, demands)
        version, tried = number + 1, verdict.outcome == "candidate"
        why = decision(
            _MODEL, "gate", verdict.outcome,
            actor="gate", reason=verdict.reason, version=version, numbers=verdict.numbers,
        )  # fmt: skip
        written = self._registry.add_version(_version(version, why.decision_id, tried=tried), why)
        if tried:
            turn = Turn(begins=_trial(version, self._log, paired(anchors), demands.e_better))
            self._book.write(turn.write).result()
            self.trial = turn.begun
        written.result()
        return number, verdict.outcome

    def on_trial(self) -> tuple[Paired, Demands]:
        """The anchor answers of the candidate on trial, and what is demanded of it.

        How much evidence it needs was settled when it came.
        """
        assert self.trial is not None, "no trial goes on"
        demands = replace(demands_of(self._policy, 1), e_better=self.trial.e_needed)
        return self.trial.anchor, demands

    def vote(self, audits: Sequence[Vote]) -> None:
        """Takes complete labels, which all vote; they are written when a restart comes.

        The log is spared these 400,000 entries of a life. It holds none else then, so that their
        positions are free.
        """
        self._audited += audits

    def submit(self, labels: Sequence[Vote], kind: Kind) -> None:
        """Takes labels as a server does: to the log, which is asked what may vote."""
        assert self.trial is not None, "no trial goes on"
        first = self._log.last_position(_MODEL) + 1
        items = [
            NewFeedback(_MODEL, f"label-{at}", f"text {at}", one.label, kind)
            for at, one in enumerate(labels, first)
        ]
        acks = self._log.submit(items).result()
        positions = [ack.position for ack in acks if isinstance(ack, Ack)]
        learned = dict.fromkeys(positions, self.trial.first_position)
        voting = self._log.unknown_audits(_MODEL, learned)
        rows = [row for row in _rows(positions, labels) if row.position in voting]
        self._book.add_votes(self.trial.trial, rows).result()

    def votes(self) -> list[Vote]:
        """The votes of the trial that count now."""
        assert self.trial is not None, "no trial goes on"
        rows = self._book.votes(self.trial.trial)
        labels = self._log.counting_audits(_MODEL, [row.position for row in rows]) | self._labels
        counted = [
            Vote(labels[row.position], row.serving_right, row.rival_right)
            for row in rows
            if row.position in labels
        ]
        return counted + self._audited

    def end(self, ended: Ending) -> None:
        """Ends the trial as audits have decided it, or for the candidate that comes next."""
        assert self.trial is not None, "no trial goes on"
        outcome = "superseded" if ended.outcome == "open" else ended.outcome
        turn = ending(self.trial, outcome, "gate", outcome, refused=outcome == "refused")
        self._book.write(turn.write)
        self.trial, self._audited, self._labels = None, [], {}


def _rows(positions: Sequence[int], votes: Sequence[Vote]) -> list[VoteRow]:
    pairs = zip(positions, votes, strict=True)
    return [VoteRow(at, one.serving_right, one.rival_right) for at, one in pairs]


def _version(number: int, decision_id: str, *, tried: bool) -> VersionRow:
    state = _CANDIDATE if tried else _REFUSED
    return VersionRow(
        _MODEL, number, state, 1, "digest", 0, 1, time.time(), "candidate", "sha", decision_id, 0
    )


def _trial(version: int, log: FeedbackLog, anchor: Paired, e_needed: float) -> TrialRow:
    position = log.last_position(_MODEL)
    return TrialRow(0, _MODEL, "candidate", version, 1, time.time(), position, 0, anchor, e_needed)
