"""Which versions hold what was deleted, and which one may serve in the place of one that does.

Beside `deletions.py`, which acts on it. A head was learned from the labels of its own model. The
weights of an encoder were trained on the labels of every model in its lineage, so that a version
may hold what another model was told, also a model that does not exist any more. All of it is told
from the log, the versions on record and the lineage beside each encoder: nothing is noted twice.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from honed_adapt.encoders.lineage import seen_by, trained_to
from honed_adapt.encoders.store import stored_encoders
from honed_adapt.feedback.log import DeletionRow, FeedbackLog
from honed_server.models.catalogue import Catalogue
from honed_server.models.registry import VersionRow, VersionState
from honed_server.models.registry_rows import versions_over


@dataclass(frozen=True, slots=True)
class Held:
    """A version that was learned from deleted feedback.

    Attributes:
        version: It.
        deletion: The first deletion of anything that it was learned from.
        in_head: Whether its head was learned from it.
        in_encoder: Whether its encoder was trained on it.
        active: Whether it serves.
        retire_time: When it is out of service at the latest, Unix seconds.
    """

    version: VersionRow
    deletion: DeletionRow
    in_head: bool
    in_encoder: bool
    active: bool
    retire_time: float


def holding(
    deletion: DeletionRow,
    rows: Sequence[VersionRow],
    seen_to: Mapping[str, int],
    active: Mapping[str, int],
    deadline_s: float,
) -> list[Held]:
    """The versions that hold what a deletion erased. Pure.

    Args:
        deletion: The deletion.
        rows: Versions, of its model and of others.
        seen_to: By encoder: log position of the last label of the deletion's model that its
            weights were trained on.
        active: The version that serves, by model.
        deadline_s: How long an encoder, or what serves, may stay after a deletion.
    """
    held = []
    for row in rows:
        in_head = row.model == deletion.model and deletion.touches(row.log_position)
        in_encoder = deletion.touches(seen_to.get(row.encoder_digest, 0))
        if (in_head or in_encoder) and not row.removed:
            serves = row.version == active.get(row.model, 0)
            # A head forgets at once: nothing speaks for returning to this one.
            until = deletion.time + (0.0 if in_head and not serves else deadline_s)
            held.append(Held(row, deletion, in_head, in_encoder, serves, until))
    return held


def fallback(rows: Sequence[VersionRow], held: Collection[int]) -> VersionRow | None:
    """The newest version that served before and holds nothing that was deleted. Pure.

    One without a label comes last: it answers only when what is left has been learned again.
    """
    able = [
        row
        for row in rows
        if row.version not in held
        and not row.removed
        and not row.tainted_position
        and row.state in (VersionState.ACTIVE, VersionState.RETIRED)
    ]
    return max(able, key=lambda row: (row.num_labels > 0, row.version), default=None)


def knows_deleted(log: FeedbackLog, seen: Mapping[str, int]) -> bool:
    """Whether anything was deleted after weights were trained on it.

    Args:
        log: Where deletions are.
        seen: By model, the log position of the last label that they were trained on.
    """
    return any(one.touches(to) for name, to in seen.items() for one in log.deletions(name, to))


class Holdings:
    """Looks up what holds what was deleted, as it is now. In a thread.

    Args:
        catalogue: The models.
        deadline_s: How long an encoder, or what serves, may stay after a deletion.
    """

    def __init__(self, catalogue: Catalogue, deadline_s: float) -> None:
        self._catalogue = catalogue
        self._deadline_s = deadline_s

    def of(self, model: str) -> Callable[[DeletionRow], list[Held]]:
        """What says, for each deletion of a model, which versions of which models hold of it."""
        home, registry = self._catalogue.home, self._catalogue.registry
        seen_to = {one: trained_to(home, one, model) for one in stored_encoders(home)}
        tuned = [one for one, to in seen_to.items() if to]
        rows = registry.database.read(lambda db: versions_over(db, model, tuned))
        active = self._active({row.model for row in rows})
        return lambda deletion: holding(deletion, rows, seen_to, active, self._deadline_s)

    def within(self, model: str) -> list[Held]:
        """The versions of a model that hold what was deleted of any model."""
        rows = [row for row in self._catalogue.registry.versions(model) if not row.removed]
        digests = {row.encoder_digest for row in rows}
        seen = {one: seen_by(self._catalogue.home, one) for one in digests}
        active = self._active({model})
        held: list[Held] = []
        for name in {model, *(name for found in seen.values() for name in found)}:
            seen_to = {one: found.get(name, 0) for one, found in seen.items()}
            for deletion in self._catalogue.log.deletions(name):
                held += holding(deletion, rows, seen_to, active, self._deadline_s)
        return held

    def _active(self, models: Collection[str]) -> dict[str, int]:
        entries = self._catalogue.entries
        found = {name: entries.get(name) for name in models}
        return {name: entry.row.active_version for name, entry in found.items() if entry}
