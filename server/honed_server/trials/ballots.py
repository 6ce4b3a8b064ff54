"""How an audit votes in a trial: both sides answer its text as they knew things before it came.

Under `trials.py`, which keeps the trials.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from honed_adapt.feedback.audits import auditors, submitters
from honed_adapt.feedback.log import FeedbackLog
from honed_adapt.feedback.values import Ack, FeedbackError, Kind, NewFeedback
from honed_adapt.head import Head
from honed_adapt.scoring import best_labels
from honed_adapt.trust.votes import votes as may_vote
from honed_server.models.catalogue import Catalogue
from honed_server.models.shelf import Stored
from honed_server.serving.generations import Generation, LoadedEncoder
from honed_server.trials.book import TrialRow, VoteRow


@dataclass(frozen=True, slots=True)
class Audit:
    """A label that may vote.

    Attributes:
        position: Its log position.
        text, label: What it says.
        answered: What served said to its text, None if that is not known.
        learned: Log position up to which either side may have learned when it answered.
    """

    position: int
    text: str
    label: str
    answered: str | None
    learned: int


def audits_among(
    items: Sequence[NewFeedback],
    acks: Sequence[Ack | FeedbackError],
    row: TrialRow,
    serving: Generation,
) -> list[Audit]:
    """The labels just recorded that may vote: audits of one label, learned by nobody yet."""
    return [
        _audit(ack.position, item, row, serving)
        for item, ack in zip(items, acks, strict=True)
        if isinstance(ack, Ack)
        and item.kind is Kind.AUDIT
        and not item.shares
        and not ack.already_recorded
        and ack.position > max(row.first_position, serving.revision)
    ]


async def cast(
    catalogue: Catalogue,
    row: TrialRow,
    serving: Generation,
    rival: Stored,
    audits: list[Audit],
    voted: Sequence[VoteRow],
) -> list[VoteRow]:
    """The votes of those audits that count, as both sides answer them now.

    Those whose submitter has had their part of the votes are not answered, and do not count.

    Args:
        catalogue: The models.
        row: The trial.
        serving: What served when they came.
        rival: What it is compared with.
        audits: Labels that may vote.
        voted: The votes before them.
    """
    learned = {audit.position: audit.learned for audit in audits}
    voting = await asyncio.to_thread(catalogue.log.unknown_audits, row.model, learned)
    within = await asyncio.to_thread(_within_cap, catalogue.log, row.model, list(voting), voted)
    over = [VoteRow(at, False, False, counts=False) for at in voting if at not in within]
    audits = [audit for audit in audits if audit.position in within]
    unknown = [audit for audit in audits if audit.answered is None]
    served = {audit.position: audit.answered for audit in audits}
    served |= await _answers(catalogue, serving.head, serving.loaded, unknown)
    said = await _answers(catalogue, rival.head, rival.loaded, audits)
    return over + [
        VoteRow(one.position, served[one.position] == one.label, said[one.position] == one.label)
        for one in audits
    ]


def _within_cap(
    log: FeedbackLog, model: str, positions: Sequence[int], voted: Sequence[VoteRow]
) -> frozenset[int]:
    """The audits whose submitters have not had their part of the votes yet."""
    cap, before = log.cap, [vote.position for vote in voted if vote.counts]
    who = log.ask(lambda db: submitters(db, model, [*before, *positions]))
    counted = Counter(who[at] for at in before)
    within = set()
    for at in sorted(positions):
        last = partial(auditors, model=model, position=at, weight=cap.least_rows)
        if may_vote(who[at], counted, log.ask(last), cap):
            within.add(at)
            counted[who[at]] += 1
    return frozenset(within)


async def _answers(
    catalogue: Catalogue, head: Head, loaded: LoadedEncoder, audits: Sequence[Audit]
) -> dict[int, str | None]:
    """What a head says to the text of each audit, by position."""
    if not audits:
        return {}
    texts = [audit.text for audit in audits]
    found = await catalogue.pool.beside(
        lambda asked: best_labels(head, loaded.vectors(asked)), texts
    )
    return {audit.position: label for audit, label in zip(audits, found, strict=True)}


def _audit(position: int, item: NewFeedback, row: TrialRow, serving: Generation) -> Audit:
    """A label with what served said to its text, if that is known, else with what serves now."""
    answered = _answered(item, row, serving)
    # The rival has learned nothing since the trial began.
    revision = serving.revision if answered is None else item.predicted_revision
    learned = max(row.first_position, revision)
    return Audit(position, item.text, item.label, answered, learned)


def _answered(item: NewFeedback, row: TrialRow, serving: Generation) -> str | None:
    """What served said to a text, if that is known: not the canary, nor what served before."""
    if not item.predicted_label or item.predicted_version in (0, row.version):
        return None
    current = item.predicted_version == serving.version
    known = current and item.predicted_revision >= row.first_revision
    return item.predicted_label if known else None
