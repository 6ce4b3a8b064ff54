"""What happens once, before the first call.

Recorded models are put into service, an empty home gets the example model, and learning gets a
moment to catch up.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import structlog

from honed_adapt.head import Head
from honed_proto.v1 import feedback_pb2 as fb
from honed_proto.v1 import models_pb2 as pb
from honed_server.catalogue import Catalogue, Entry, decision
from honed_server.errors import NotReady
from honed_server.feedback_service import FeedbackService
from honed_server.lifecycle import Lifecycle
from honed_server.registry import ModelRow, VersionState
from honed_server.rpc import Call
from honed_server.shelf import Shelf

log = structlog.get_logger(__name__)

_EXAMPLE = "support"
_BATCH = 256
_LEARN_S = 30.0


async def load_models(catalogue: Catalogue, shelf: Shelf) -> None:
    """Serves the active version of every recorded model, or its newest intact one.

    A damaged version is refused by name and recorded; a model without any intact version is left
    out, so that the others serve.
    """
    for row in catalogue.registry.models():
        if row.deleted:
            continue
        try:
            await _load(catalogue, shelf, row)
        except NotReady as error:
            log.error("model cannot be served", model=row.name, why=str(error))


async def _load(catalogue: Catalogue, shelf: Shelf, row: ModelRow) -> None:
    entry = Entry(
        row,
        log_position=catalogue.log.last_position(row.name),
        anchor_set=catalogue.log.anchor_set_number(row.name),
        anchor_total=len(catalogue.log.anchors(row.name)),
    )
    recorded = {version.version: version for version in catalogue.registry.versions(row.name)}
    for number in dict.fromkeys([row.active_version, *sorted(recorded, reverse=True)]):
        version = recorded[number]
        if version.state not in (VersionState.ACTIVE, VersionState.RETIRED):
            continue
        try:
            head, labels, loaded = await shelf.read(version)
        except NotReady as error:
            log.error("version refused", model=row.name, version=number, why=str(error))
            continue
        entry.version_position, entry.version_source = version.log_position, version.source
        if number != row.active_version:
            reason = f"version {row.active_version} is damaged"
            record = decision(
                row.name, "rollback", "activated", actor="start", reason=reason, version=number
            )
            await shelf.activate(entry, version, record)
        if version.tainted_position:
            # It was learned from deleted feedback: the adapt process offers it without that.
            head = Head.empty(loaded.encoder.hidden)
        catalogue.entries[row.name] = entry
        catalogue.publish(
            entry, number, version.log_position, labels, head,
            kind=pb.ModelEvent.KIND_SNAPSHOT, loaded=loaded,
        )  # fmt: skip
        return
    raise NotReady("it has no intact version: restore its folder from a backup, or delete it")


async def create_example(lifecycle: Lifecycle, feedback: FeedbackService) -> None:
    """Creates `support` and submits its labels, as any client would."""
    folder = _example_folder()
    await lifecycle.create(
        _EXAMPLE, encoder_digest="", labels=(), closed=False, actor="first start"
    )
    call = Call(monotonic() + _LEARN_S, "first start")
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
