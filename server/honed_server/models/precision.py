"""Decides what a model's answers are computed in: integers where held-out labels allow it.

A trainer finds out (`trainer_main.py`), the server decides and swaps. New models and new encoders
begin in float32.
"""

import asyncio
from dataclasses import asdict
from math import isfinite

import structlog

from honed_adapt.encoders.precision import LEAST_HOLDOUT, MOST_CHANGED, MOST_LOST, Evidence
from honed_adapt.encoders.store import Precision
from honed_adapt.process import messages
from honed_proto.v1 import models_pb2 as pb
from honed_server.models.catalogue import Catalogue, decision

log = structlog.get_logger(__name__)


async def take_integers(catalogue: Catalogue, offer: messages.Integers) -> messages.Verdict:
    """Records what a trainer found out, and swaps the model to what follows from it.

    Raises:
        UnknownModel: No such model.
        NotReady: The integer form is not there or damaged.
    """
    entry = catalogue.entry(offer.model)
    if not catalogue.integers:
        return messages.Verdict(offer.model, offer.labels, "refused", "the server is set to fp32")
    if not (isfinite(offer.changed) and isfinite(offer.lost)):
        return messages.Verdict(offer.model, offer.labels, "refused", "no figures")
    evidence = Evidence(offer.labels, offer.holdout, offer.changed, offer.lost)
    precision: Precision = "int8" if evidence.holds else "fp32"
    async with catalogue.hold(entry):
        serving = catalogue.serving(offer.model)
        if serving.loaded.encoder.digest != offer.encoder_digest:
            reason = f"serves encoder {serving.loaded.encoder.digest[:8]} by now"
            return messages.Verdict(offer.model, offer.labels, "refused", reason)
        loaded = await catalogue.pool.get(offer.encoder_digest, precision)
        record = decision(
            offer.model,
            "precision",
            precision,
            actor="trainer",
            reason=_reason(evidence),
            version=serving.version,
            numbers=asdict(evidence),
        )
        entry.row = await asyncio.wrap_future(
            catalogue.registry.set_integers(offer.model, offer.encoder_digest, evidence, record)
        )
        serving = catalogue.serving(offer.model)  # it may have learned meanwhile
        catalogue.publish(
            entry, serving.version, serving.revision, serving.label_set_version, serving.head,
            kind=pb.ModelEvent.KIND_PRECISION, loaded=loaded,
        )  # fmt: skip
    catalogue.pool.drop_unused()
    catalogue.tell_adapt(catalogue.models_message())
    log.info("precision decided", model=offer.model, precision=precision, why=record.reason)
    return messages.Verdict(offer.model, offer.labels, "accepted", record.reason)


def _reason(evidence: Evidence) -> str:
    return (
        f"of {evidence.holdout} held-out texts (at least {LEAST_HOLDOUT}) "
        f"{evidence.changed:.2%} change with the batch (at most {MOST_CHANGED:.1%}) and "
        f"{evidence.lost:.2%} of the accuracy is lost (at most {MOST_LOST:.1%})"
    )
