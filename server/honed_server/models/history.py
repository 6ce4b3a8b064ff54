"""What a revision had learned, told afterwards from the log and the decisions. Pure.

The log orders labels, retractions and deletions; quarantine, exclusion and pauses are decisions,
which only their time orders. `replay.py` learns again what it tells; a model card counts it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from honed_adapt.feedback.log import Kind, Record, State
from honed_server.models.registry import DecisionRow, VersionRow

# The decisions that leave labels out, and where they list them.
_LEFT_OUT = {"quarantine": "positions", "resume": "excluded_positions", "trust": "positions"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A revision of a model as it served at a time.

    Attributes:
        version: The version that served.
        revision: Log position up to which everything had been considered.
        decisions: The model's decisions up to then, oldest first.
        later: Those after it.
    """

    version: VersionRow
    revision: int
    decisions: Sequence[DecisionRow]
    later: Sequence[DecisionRow]

    @staticmethod
    def of(
        version: VersionRow, revision: int, decisions: Sequence[DecisionRow], time: float
    ) -> "Moment":
        """The moment at `time`, Unix seconds, among all decisions about the model."""
        before = [one for one in decisions if one.time <= time]
        return Moment(version, revision, before, [one for one in decisions if one.time > time])

    @property
    def from_disk(self) -> bool:
        """Whether the version's own head served, and not one that was learned since.

        Learning goes on at later positions, after a pause too: resuming is an entry of the log.
        """
        return self.revision == self.version.log_position


def learned(
    records: Sequence[Record], moment: Moment, versions: Mapping[int, VersionRow]
) -> list[Record]:
    """The labels that counted, in log order; those deleted since are told by their tombstones.

    Args:
        records: All entries of the model as they stand now.
        moment: When.
        versions: All versions of the model by number.
    """
    limit = min(moment.revision, _row_limit(moment, versions))
    withdrawn = {
        record.retracts
        for record in records
        if record.kind is Kind.RETRACTION
        and record.position <= limit
        and not _deleted_by(record, moment.revision)
    }
    left_out = _left_out(records, moment)
    return [
        record
        for record in records
        if record.kind is not Kind.RETRACTION
        and record.position <= limit
        and record.position not in left_out
        and record.feedback_id not in withdrawn
        and not _deleted_by(record, moment.revision)
    ]


def standing(labels: Sequence[Record], trust: Mapping[str, float]) -> list[Record]:
    """Of these labels, in log order, those in effect: the newest of the most trusted of a text.

    Args:
        labels: Deleted ones among them are left out.
        trust: Trust by submitter, default 1.
    """
    best: dict[bytes | str, Record] = {}
    for label in labels:
        text = label.text_hash or label.text  # the hash outlives the text
        old = best.get(text, label)
        if not label.deleted_position and _trust(label, trust) >= _trust(old, trust):
            best[text] = label
    return list(best.values())


def _trust(label: Record, trust: Mapping[str, float]) -> float:
    return trust.get(label.submitter, 1.0)


def _deleted_by(record: Record, revision: int) -> bool:
    return 0 < record.deleted_position <= revision


def _row_limit(moment: Moment, versions: Mapping[int, VersionRow]) -> int:
    """The last position whose label may have been learned: the pin, while learning was paused."""
    pin: int | None = None
    for one in moment.decisions:
        version = versions.get(one.version)
        if one.kind == "resume":
            pin = None
        elif one.kind == "pause":
            pin = one.numbers.get("revision", moment.revision)
        elif version is not None and (
            # A start that meets a damaged version goes back too, but does not pause.
            (one.kind == "rollback" and "suspect_from" in one.numbers)
            or (one.kind == "promote" and version.source == "candidate" and pin is not None)
        ):
            pin = version.log_position
    return moment.revision if pin is None else pin


def _left_out(records: Sequence[Record], moment: Moment) -> Collection[int]:
    """Positions in quarantine or excluded then."""
    by_then = _listed(one for one in moment.decisions if _considered(one, moment.revision))
    later = _listed(moment.later) | _listed(moment.decisions) - by_then
    marked = {r.position for r in records if r.state in (State.QUARANTINED, State.EXCLUDED)}
    # A crash may come between a mark and its decision.
    return by_then | (marked - later)


def _considered(one: DecisionRow, revision: int) -> bool:
    """Whether it had been served by then: labels that had counted are left out from a position."""
    return int(one.numbers.get("position", 0)) <= revision


def _listed(decisions: Iterable[DecisionRow]) -> set[int]:
    found: set[int] = set()
    for one in decisions:
        if one.kind in _LEFT_OUT:
            found |= set(one.numbers.get(_LEFT_OUT[one.kind], ()))
            found -= set(one.numbers.get("restored", ()))
    return found
