"""What happens once, before the first call.

Recorded models are put into service, an empty home gets the example model, and learning gets a
moment to catch up.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import structlog

from honed_adapt.head import Head
from honed_proto.v1 import feedback_pb2 as fb
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.edge.rpc import Call
from honed_server.feedback.deletions import pending
from honed_server.feedback.distrust import distrusted
from honed_server.feedback.service import FeedbackService
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.creation import Creation, NewModel
from honed_server.models.registry import DecisionRow, ModelRow, VersionRow, VersionState
from honed_server.models.shelf import Shelf, Stored

log = structlog.get_logger(__name__)

_EXAMPLE = "support"
_BATCH = 256
# An empty home has no saved revision to serve meanwhile, so the first start waits for longer.
FIRST_START_S = 30.0


async def load_models(catalogue: Catalogue, shelf: Shelf) -> None:
    """Serves the active version of every recorded model, or an intact one that it grew from.

    A damaged version is refused by name and recorded; a model without any intact version is left
    out, so that the others serve, and calls that name it are told why.
    """
    for row in catalogue.registry.models():
        if row.deleted or not row.active_version:
            continue  # without a version its creation was interrupted: it may be created again
        try:
            await _load(catalogue, shelf, row)
        except NotReady as error:
            log.error("model cannot be served", model=row.name, why=str(error))
            catalogue.unserved[row.name] = str(error)


async def _load(catalogue: Catalogue, shelf: Shelf, row: ModelRow) -> None:
    entry = Entry(
        row,
        log_position=catalogue.log.last_position(row.name),
        deletion_position=pending(catalogue.log, row.name),
        distrusted=distrusted(catalogue.registry, row.name),
        anchor_set=catalogue.log.anchor_set_number(row.name),
        anchor_total=len(catalogue.log.anchors(row.name)),
    )
    version, stored = await _intact(shelf, row)
    entry.version_position, entry.version_source = version.log_position, version.source
    if version.state is VersionState.DAMAGED or version.version != row.active_version:
        await shelf.activate(entry, version, _reactivation(row, version))
    entry.recipe = recipes.recorded(
        catalogue.registry, row.name, version.encoder_digest, entry.log_position
    )
    if row.own_head_version:
        entry.own_encoder = shelf.find(row.name, row.own_head_version).encoder_digest
    if version.tainted_position:
        stored = await _unlearned(shelf, row, stored)
    entry.weigh(stored.metrics)
    catalogue.entries[row.name] = entry
    catalogue.publish(
        entry, version.version, version.log_position, stored.label_set_version, stored.head,
        kind=pb.ModelEvent.KIND_SNAPSHOT, loaded=stored.loaded,
    )  # fmt: skip


async def _unlearned(shelf: Shelf, row: ModelRow, tainted: Stored) -> Stored:
    """What serves for a version that was learned from deleted feedback.

    The head that the model was imported with, if there is one, until the adapt process offers the
    version without that feedback.
    """
    if row.own_head_version:
        return await shelf.read(shelf.find(row.name, row.own_head_version))
    return replace(tainted, head=Head.empty(tainted.loaded.encoder.hidden))


async def _intact(shelf: Shelf, row: ModelRow) -> tuple[VersionRow, Stored]:
    """The active version, else the nearest that it grew from and that can be read.

    Not simply the newest: that may be one that was rolled back from. Versions that were damaged
    are read again, since their files may have been restored.

    Raises:
        NotReady: There is none; says what is wrong with the active one.
    """
    faults: list[str] = []
    for version in shelf.lineage(row.name, row.active_version):
        try:
            return version, await shelf.read(version)
        except NotReady as error:
            log.error("version refused", model=row.name, version=version.version, why=str(error))
            faults.append(str(error))
    raise NotReady(f"{faults[0]}; restore it from a backup and start the server again")


def _reactivation(row: ModelRow, version: VersionRow) -> DecisionRow:
    if version.version == row.active_version:
        kind, reason = "verify", "its files were restored"
    else:
        kind, reason = "rollback", f"version {row.active_version} is damaged"
    return decision(
        row.name, kind, "activated", actor="start", reason=reason, version=version.version
    )


async def create_example(creation: Creation, feedback: FeedbackService) -> None:
    """Creates `support` and submits its labels, as any client would."""
    folder = _example_folder()
    await creation.create(NewModel(_EXAMPLE), encoder_digest="", actor="first start")
    call = Call(monotonic() + FIRST_START_S, "first start")
    anchor = [
        fb.AnchorExample(text=text, label=label) for text, label in _rows(folder / "anchor.csv")
    ]
    await feedback.import_anchor(fb.ImportAnchorRequest(model=_EXAMPLE, examples=anchor), call)
    items = [
        fb.FeedbackItem(
            idempotency_key=f"example-{n}",
            text=text,
            label=label,
            kind=fb.FEEDBACK_KIND_AUDIT,
            submitter="examples",
        )
        for n, (text, label) in enumerate(_rows(folder / "train.csv"))
    ]
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        await feedback.submit(fb.SubmitRequest(model=_EXAMPLE, items=batch), call)


async def wait_caught_up(catalogue: Catalogue, timeout_s: float) -> None:
    """Waits until every model has learned what its log holds, at most `timeout_s` seconds."""
    deadline = monotonic() + timeout_s
    for name, entry in list(catalogue.entries.items()):

        def caught_up(name: str = name, entry: Entry = entry) -> bool:
            return entry.row.paused or catalogue.serving(name).revision >= entry.log_position

        if not await catalogue.events.until(name, caught_up, max(deadline - monotonic(), 0)):
            lag = entry.log_position - catalogue.serving(name).revision
            log.warning("serving the last saved revision; learning lags", model=name, lag=lag)


def _example_folder() -> Path:
    """Inside the installed package, or in the repository that this package is run from."""
    installed = Path(__file__).parent / "examples" / _EXAMPLE
    return installed if installed.is_dir() else Path(__file__).parents[2] / "examples" / _EXAMPLE


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row["text"], row["label"]
