"""Installs what the instant lane offers: check, record what was refused, swap."""

import asyncio
from math import inf, isfinite

import structlog

from honed_adapt.head import HeadError
from honed_adapt.process import messages
from honed_adapt.scoring import weights_of
from honed_proto.v1 import models_pb2 as pb
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.quarantine import record_quarantine
from honed_server.trials import gate

log = structlog.get_logger(__name__)


async def install_revision(catalogue: Catalogue, offer: messages.Revision) -> messages.Verdict:
    """Serves an offered revision, or says why not. The adapt process is not trusted.

    Args:
        catalogue: The models.
        offer: What the adapt process learned.
    """
    entry = catalogue.entries.get(offer.model)
    if entry is None:
        return _refused(offer, "the model was deleted")
    async with catalogue.hold(entry):
        if entry.version_source == "candidate" and entry.anchor_reference is None:
            entry.anchor_reference = await gate.anchor_score(catalogue, entry)
        fault = _fault(catalogue, entry, offer)
        if fault is not None:
            catalogue.metrics.refused_offers.labels(offer.model).inc()
            log.warning("revision refused", model=offer.model, revision=offer.revision, why=fault)
            if offer.epoch == entry.epoch:
                entry.considered = max(entry.considered, offer.revision)
                catalogue.announce(entry, pb.ModelEvent.KIND_SNAPSHOT)
            return _refused(offer, fault)
        await record_quarantine(catalogue, entry, offer)
        await _weigh(catalogue, entry, offer)
        await recipes.record(catalogue, entry, offer)
        # Its projection, once for an encoder, would hold up the event loop for half a second.
        await asyncio.to_thread(weights_of, offer.head)
        await _swap(catalogue, entry, offer)
    return messages.Verdict(offer.model, offer.revision, "accepted", "serves")


def _fault(catalogue: Catalogue, entry: Entry, offer: messages.Revision) -> str | None:
    """Why an offer must not serve; None if it may."""
    serving = catalogue.serving(offer.model)
    if offer.epoch != entry.epoch:
        return f"learned under epoch {offer.epoch}, now is {entry.epoch}"
    if offer.revision < serving.revision and entry.offered_epoch == entry.epoch:
        return f"older than revision {serving.revision}, which serves"
    if not 0 <= offer.learned_weight < inf or not isfinite(offer.learned_evidence):
        return f"evidence {offer.learned_evidence} for weight {offer.learned_weight} is none"
    try:
        offer.head.validate(serving.loaded.encoder.hidden)
    except HeadError as error:
        return str(error)
    if entry.version_source == "candidate" and catalogue.has_forgotten(
        entry, entry.deletion_position
    ):
        return _worse_than_candidate(entry, offer, catalogue.guard_items)
    return None


def _worse_than_candidate(entry: Entry, offer: messages.Revision, guard_items: int) -> str | None:
    """A promoted candidate is replaced only by what was learned since, and only if no worse."""
    if offer.revision <= entry.version_position:
        return "nothing was learned since the candidate that was promoted"
    if offer.anchor_set != entry.anchor_set:
        return f"judged by anchor set {offer.anchor_set}, now is {entry.anchor_set}"
    if offer.anchor_correct < (entry.anchor_reference or 0) - guard_items:
        right = f"{offer.anchor_correct} anchor answers right"
        return f"{right}, the promoted candidate has {entry.anchor_reference}"
    return None


async def _weigh(catalogue: Catalogue, entry: Entry, offer: messages.Revision) -> None:
    """Takes over how much learned evidence counts; a change is on record before it serves."""
    before, after = entry.learned_weight, offer.learned_weight
    if after != before:
        record = decision(
            offer.model,
            "evidence",
            "raised" if after > before else "lowered",
            actor="evidence",
            reason=f"audits give {offer.learned_evidence:.1f} nats for what was learned",
            version=entry.row.active_version,
            numbers={
                "weight_before": before,
                "weight_after": after,
                "evidence": offer.learned_evidence,
                "revision": offer.revision,
            },
        )
        await asyncio.wrap_future(catalogue.registry.record(record))
    entry.learned_weight, entry.learned_evidence = after, offer.learned_evidence


async def _swap(catalogue: Catalogue, entry: Entry, offer: messages.Revision) -> None:
    serving = catalogue.serving(offer.model)
    labels = offer.head.labels
    number = serving.label_set_version
    if labels != serving.head.labels:
        number = await asyncio.wrap_future(catalogue.registry.label_set_number(offer.model, labels))
    entry.offered_epoch = offer.epoch
    entry.learning = recipes.learning(offer)
    entry.considered = 0 if offer.growing else offer.revision
    if offer.anchor_set == entry.anchor_set and entry.anchor_set:
        entry.anchor_reference = max(entry.anchor_reference or 0, offer.anchor_correct)
    if offer.revision > serving.revision:
        entry.unsaved += 1
    version = entry.row.active_version
    catalogue.publish(
        entry, version, offer.revision, number, offer.head, kind=pb.ModelEvent.KIND_REVISION
    )
    catalogue.metrics.revisions.labels(offer.model).inc()


def _refused(offer: messages.Revision, reason: str) -> messages.Verdict:
    return messages.Verdict(offer.model, offer.revision, "refused", reason)
