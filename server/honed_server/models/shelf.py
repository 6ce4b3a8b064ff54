"""The versions of a model on disk and on record: write aside, verify, record, read back.

The registry row is the commit point: a folder without a row is left over from a crash and is
overwritten by nobody, a row without an intact folder is refused by name.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from honed_adapt.head import Head
from honed_adapt.process import messages
from honed_adapt.scoring import weights_of
from honed_adapt.storage import versions
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotFound, NotReady
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import DecisionRow, Pins, VersionRow, VersionState
from honed_server.models.registry_rows import WithIt, nothing
from honed_server.serving.generations import LoadedEncoder


@dataclass(frozen=True, slots=True)
class Draft:
    """A version about to be written.

    Attributes:
        number: Its version number.
        revision: Log position up to which it has learned.
        source: "create", "import", "checkpoint", "deletion" or "candidate".
    """

    number: int
    parent: int
    revision: int
    head: Head
    label_set_version: int
    loaded: LoadedEncoder
    source: str
    state: VersionState = VersionState.CANDIDATE
    seed: int = 0
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A version read back: what serves if it serves, and the numbers behind it."""

    head: Head
    label_set_version: int
    loaded: LoadedEncoder
    metrics: Mapping[str, Any]


class Shelf:
    """Reads and writes versions for the decisions. Event loop only; disks are used in threads."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def write(self, model: str, draft: Draft, record: DecisionRow) -> VersionRow:
        """Writes a version aside, verifies it, and records it together with its decision."""
        row = await self.lay(model, draft, record)
        await asyncio.wrap_future(self._catalogue.registry.add_version(row, record))
        return row

    async def lay(self, model: str, draft: Draft, record: DecisionRow) -> VersionRow:
        """Writes a version aside and verifies it; it is none until the row is on record."""
        manifest = versions.Manifest(
            model=model,
            version=draft.number,
            parent=draft.parent,
            encoder_digest=draft.loaded.encoder.digest,
            log_position=draft.revision,
            label_set_version=draft.label_set_version,
            seed=draft.seed,
            hyper_parameters=dict(draft.hyper_parameters),
            metrics=dict(draft.metrics),
            decision_id=record.decision_id,
            source=draft.source,
        )
        root = self._catalogue.home / "models"
        await asyncio.to_thread(versions.clear_unrecorded, root, model, draft.number)
        written = await asyncio.to_thread(versions.write, root, manifest, draft.head)
        return VersionRow(
            model=model,
            version=draft.number,
            state=draft.state,
            parent=draft.parent,
            encoder_digest=manifest.encoder_digest,
            log_position=draft.revision,
            num_labels=draft.head.num_labels,
            created=time.time(),
            source=draft.source,
            manifest_sha256=written.manifest_sha256,
            decision_id=record.decision_id,
            tainted_position=0,
        )

    async def read(self, row: VersionRow) -> Stored:
        """A recorded version, verified.

        Raises:
            NotReady: A file is damaged or foreign (the message names it, and it is on record), or
                the version was removed.
        """
        root = self._catalogue.home / "models"
        if row.removed:
            raise NotReady(
                f"the files of version {row.version} were removed: it {_was_learned(row)}",
                reason="VERSION_REMOVED",
            )
        try:
            manifest, head = await asyncio.to_thread(
                versions.load_version,
                root,
                row.model,
                row.version,
                manifest_sha256=row.manifest_sha256,
            )
        except versions.VersionError as error:
            await self._mark_damaged(row, str(error))
            raise NotReady(str(error), reason="VERSION_DAMAGED") from error
        await asyncio.to_thread(weights_of, head)  # makes its projection, once for an encoder
        loaded = await self._catalogue.encoder(row.model, row.encoder_digest)
        return Stored(head, manifest.label_set_version, loaded, manifest.metrics)

    async def activate(
        self,
        entry: Entry,
        row: VersionRow,
        record: DecisionRow,
        pins: Pins | None = None,
        with_it: WithIt = nothing,
    ) -> None:
        """Moves the active pointer: the commit point of every promotion and rollback."""
        entry.row = await asyncio.wrap_future(
            self._catalogue.registry.activate(row.model, row.version, record, pins, with_it)
        )
        entry.version_position, entry.version_source = row.log_position, row.source
        if entry.row.own_head_version:
            own = self.find(row.model, entry.row.own_head_version)
            entry.own_encoder = own.encoder_digest

    async def serve(
        self,
        entry: Entry,
        row: VersionRow,
        record: DecisionRow,
        kind: pb.ModelEvent.Kind,
        pins: Pins | None = None,
        with_it: WithIt = nothing,
        learned: messages.Revision | None = None,
    ) -> None:
        """Reads, activates and swaps in a version; offers under way become void.

        Args:
            entry: The model.
            row: The version, which may be recorded by `with_it`.
            record: Why.
            kind: Of the event that tells of it.
            pins: Given by a rollback: learning is paused there.
            with_it: What else is on record once it serves, and only then.
            learned: What was learned over its encoder since, which serves in the place of its head.

        Raises:
            NotReady: It cannot be read; then nothing has changed.
        """
        stored, c = await self.read(row), self._catalogue
        revision, number, head = row.log_position, stored.label_set_version, stored.head
        if learned is not None:
            revision, head = learned.revision, learned.head
            sets = c.registry.label_set_number(row.model, head.labels)
            number = await asyncio.wrap_future(sets)
            await asyncio.to_thread(weights_of, head)
        await self.activate(entry, row, record, pins, with_it)
        if c.serving(row.model).loaded.encoder.digest != (encoder := row.encoder_digest):
            entry.recipe = recipes.recorded(c.registry, row.model, encoder, revision)
        entry.weigh(stored.metrics)
        entry.ahead = None
        c.publish(entry, row.version, revision, number, head, kind=kind, loaded=stored.loaded)
        c.pool.drop_unused()
        c.renew(entry)

    def find(self, model: str, number: int) -> VersionRow:
        """A recorded version; raises NotFound."""
        for row in self._catalogue.registry.versions(model):
            if row.version == number:
                return row
        raise NotFound(
            f"model {model!r} has no version {number}; see Models.ListVersions",
            reason="UNKNOWN_VERSION",
            field="version",
        )

    def lineage(self, model: str, number: int) -> list[VersionRow]:
        """A version and those that it grew from, newest first; each of these has served."""
        recorded = {row.version: row for row in self._catalogue.registry.versions(model)}
        rows = []
        while number in recorded:
            rows.append(recorded[number])
            number = recorded[number].parent
        return rows

    def rollback_target(self, model: str, active: int, number: int) -> VersionRow:
        """The version to go back to; number 0 means the nearest that the active one grew from.

        Raises:
            NotFound: No such version.
            NotReady: It must not serve again, or there is none to go back to.
        """
        if number:
            version = self.find(model, number)
            if fault := _cannot_return(version):
                raise NotReady(f"version {number} {fault}", reason="CANNOT_ROLL_BACK")
            return version
        _, *earlier = self.lineage(model, active)
        for version in earlier:
            if version.state is not VersionState.DAMAGED and not _cannot_return(version):
                return version
        raise NotReady(
            f"model {model!r} has no earlier version to return to; see Models.ListVersions",
            reason="NOTHING_TO_ROLL_BACK_TO",
        )

    async def _mark_damaged(self, row: VersionRow, reason: str) -> None:
        record = decision(
            row.model, "verify", "damaged", actor="server", reason=reason, version=row.version
        )
        await asyncio.wrap_future(
            self._catalogue.registry.set_version_state(
                row.model, row.version, VersionState.DAMAGED, record
            )
        )


def _cannot_return(version: VersionRow) -> str | None:
    """Why a version cannot be rolled back to; None if it can."""
    # A damaged one may have been restored from a backup: it is verified when it is read.
    if version.state in (VersionState.CANDIDATE, VersionState.REFUSED):
        return f"never served: it is {version.state.name.lower()}"
    if version.num_labels == 0:
        return "knows no label; roll back to a later one or delete feedback instead"
    if version.tainted_position:
        return f"{_was_learned(version)}; roll back to a version that does not contain it"
    return None


def _was_learned(version: VersionRow) -> str:
    return f"was learned from feedback deleted at log position {version.tainted_position}"
