"""Decides about submitters whom the labels of all others contradict, and puts it on record.

Their labels go to quarantine: visible, and without influence from a new revision on, so that no
revision names two heads. Later ones go there as they arrive. A setting takes it back: who is named
in `submitter_trust` with a trust of 1 or more is believed.
"""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import structlog

from honed_adapt.feedback.log import FeedbackLog, State
from honed_adapt.process.findings import Deleted, Distrust, Grown
from honed_adapt.process.messages import Wake
from honed_adapt.storage.errors import StoreError
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import ServingError
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import Registry

log = structlog.get_logger(__name__)

KIND = "trust"


def distrusted(registry: Registry, model: str) -> frozenset[str]:
    """The submitters of a model that are not trusted, by the newest decision about each."""
    newest = {one.numbers["submitter"]: one.outcome for one in registry.decisions_of(model, KIND)}
    return frozenset(name for name, outcome in newest.items() if outcome == "distrusted")


async def take_finding(catalogue: Catalogue, found: Distrust | Deleted | Grown) -> None:
    """Takes in what the adapt process found; what cannot be now it will find again."""
    try:
        if isinstance(found, Deleted):
            noted = catalogue.log.note_difference(found.position, found.difference)
            await asyncio.wrap_future(noted)
        elif (entry := catalogue.entries.get(found.model)) is None:
            return
        elif isinstance(found, Grown):
            await recipes.grow(catalogue, entry, found)
        else:
            await _set_aside(catalogue, entry, found)
    except (StoreError, ServingError) as error:
        log.warning("a finding is not on record", model=found.model, why=str(error))


async def _set_aside(catalogue: Catalogue, entry: Entry, found: Distrust) -> None:
    """Puts labels that are contradicted into quarantine, and remembers whose they were."""
    async with catalogue.hold(entry):
        if entry.row.paused or found.epoch != entry.epoch:
            return  # what counts is about to be other
        record = decision(
            found.model, KIND, "distrusted", actor="trust",
            reason=(
                f"others bear out {found.agreement:.0%} of the {found.judged} labels of "
                f"{found.submitter!r} that can be judged, of their own at least "
                f"{found.others_low:.0%}"
            ),
            version=entry.row.active_version,
        )  # fmt: skip
        positions = list(found.positions)
        aside = catalogue.log.set_aside(found.model, positions, record.decision_id)
        at = await asyncio.wrap_future(aside)
        record = replace(record, numbers=_numbers(found, at))
        await asyncio.wrap_future(catalogue.registry.record(record))
        entry.distrusted |= {found.submitter}
        entry.quarantined.update(positions)
        entry.log_position = max(entry.log_position, at)
        catalogue.metrics.quarantined.labels(found.model).inc(len(positions))
    catalogue.tell_adapt(catalogue.models_message())
    catalogue.tell_adapt(Wake(at))
    for hear in catalogue.on_set_aside:
        hear(entry)
    catalogue.announce(entry, pb.ModelEvent.KIND_QUARANTINED)


async def believe(registry: Registry, feedback: FeedbackLog, trusted: Collection[str]) -> None:
    """Lets labels of submitters count again whom the settings trust; before models are served."""
    for row in registry.models():
        for submitter in sorted(distrusted(registry, row.name) & set(trusted)):
            await _lift(registry, feedback, row.name, submitter)


async def _lift(registry: Registry, feedback: FeedbackLog, model: str, submitter: str) -> None:
    refused = {
        position
        for kind in (KIND, "quarantine")
        for one in registry.decisions_of(model, kind)
        if one.actor == "trust"
        for position in one.numbers.get("positions", ())
    }
    own = await asyncio.to_thread(
        feedback.positions, model, 0, feedback.last_position(model), submitter
    )
    restored = sorted(refused & set(own))
    # What was served without them had a lower revision.
    at = await asyncio.wrap_future(feedback.resume(model, "settings"))
    record = decision(
        model, KIND, "trusted", actor="settings", reason=f"the settings trust {submitter!r}",
        numbers={"submitter": submitter, "restored": restored, "position": at},
    )  # fmt: skip
    await asyncio.wrap_future(feedback.mark(restored, State.ACTIVE, record.decision_id))
    await asyncio.wrap_future(registry.record(record))


def _numbers(found: Distrust, position: int) -> dict[str, Any]:
    return {
        "submitter": found.submitter,
        "positions": list(found.positions),
        "position": position,
        "labels": found.labels,
        "judged": found.judged,
        "agreement": found.agreement,
        "agreement_high": found.agreement_high,
        "others_low": found.others_low,
    }
