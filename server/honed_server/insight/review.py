"""RPC Feedback.Review: what to label next.

Audits are drawn by the hash of the prediction's id, so that a restart draws the same ones. Of the
other answers those are proposed of which the model, as it is now, is least sure, no two alike: the
answers that were least sure when they were given are asked about anew in the engine, as bulk work.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from honed_adapt.feedback.log import text_hash
from honed_adapt.feedback.questions import audited, labelled_texts
from honed_adapt.insight.review import apart, drawn, shuffled_in
from honed_adapt.insight.scores import Share
from honed_proto.v1 import feedback_pb2 as pb
from honed_proto.v1 import inference_pb2
from honed_server.edge import validate
from honed_server.edge.errors import InvalidRequest, ServingError
from honed_server.edge.rpc import Call
from honed_server.insight.drift import OWN_TENANT
from honed_server.insight.explain import Ask
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.serving.batcher import Answer
from honed_server.serving.predictions import PredictionLog, PredictionRow

_SIZE, _MOST = 20, 256
_AUDIT_SHARE = 0.25
# Answers that are looked through, the newest ones.
_LOOKED_AT = 10_000
# Answers that are asked about anew for each that is proposed, and how many of these are unsure
# enough to choose from.
_ASKED_EACH, _SPREAD_EACH = 4, 2


@dataclass(frozen=True, slots=True)
class _Now:
    """What serves now says of a text: the margin of its best label, and its vector."""

    margin: float
    vector: NDArray[np.float32]


class Reviews:
    """Answers Feedback.Review. Event loop only.

    Args:
        catalogue: The models.
        predictions: What was answered.
        ask: Asks the engine, without a trace in the prediction log.
    """

    def __init__(self, catalogue: Catalogue, predictions: PredictionLog, ask: Ask) -> None:
        self._catalogue = catalogue
        self._predictions = predictions
        self._ask = ask

    async def review(self, request: pb.ReviewRequest, call: Call) -> pb.ReviewResponse:
        """Proposes answers to label; see feedback.proto."""
        size = _size(request.size)
        most_audits = round(size * _audit_share(request))
        entry = self._catalogue.entry(request.model)
        self._predictions.flush()
        rows, audits = await asyncio.to_thread(self._candidates, entry, most_audits)
        wanted = size - most_audits
        asked = _unsure(rows, audits)[: min(_ASKED_EACH * wanted, validate.MAX_TEXTS - len(audits))]
        now = await self._now(request.model, [*(rows[one] for one in audits), *asked], call)
        chosen = _chosen(asked, now, wanted)
        response = pb.ReviewResponse(
            audited=_accuracy(entry.watch.audited_share), chosen=_accuracy(entry.watch.chosen_share)
        )
        for one in shuffled_in(chosen, audits):
            response.items.append(_item(rows[one], now[one].margin, one in audits))
        return response

    def _candidates(self, entry: Entry, audits: int) -> tuple[dict[str, PredictionRow], list[str]]:
        """Answers that may be proposed, by id, and those of them to audit, in order.

        An answer that was corrected is audited nevertheless, else only right ones would be. What is
        not drawn is left out once its text has a label.
        """
        name, ask = entry.row.name, self._catalogue.log.ask
        rows = {row.prediction_id: row for row in self._predictions.latest(name, _LOOKED_AT)}
        drawn_ids = drawn(rows, self._catalogue.policies.of(name).audit_share)
        done = ask(lambda db: audited(db, name, drawn_ids))
        to_audit = [one for one in drawn_ids if one not in done][:audits]
        hashes = {one: text_hash(row.text or "") for one, row in rows.items()}
        labelled = ask(lambda db: labelled_texts(db, name, list(set(hashes.values()))))
        kept = {one: row for one, row in rows.items() if hashes[one] not in labelled}
        return kept | {one: rows[one] for one in to_audit}, to_audit

    async def _now(self, model: str, rows: Sequence[PredictionRow], call: Call) -> dict[str, _Now]:
        """What serves now says of these texts, by prediction id."""
        if not rows:
            return {}
        asked = inference_pb2.PredictRequest(
            model=model,
            texts=[row.text or "" for row in rows],
            top_k=2,
            priority=inference_pb2.PRIORITY_BULK,
            tenant=OWN_TENANT,
        )
        outcomes = await self._ask(asked, call)
        found = dict[str, _Now]()
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, ServingError):
                raise outcome
            found[row.prediction_id] = _seen(outcome)
        return found


def _seen(answer: Answer) -> _Now:
    assert answer.embedding is not None, "it was asked for"
    best, *others = answer.probabilities
    return _Now(best - (others[0] if others else 0.0), answer.embedding)


def _unsure(rows: Mapping[str, PredictionRow], audits: Sequence[str]) -> list[PredictionRow]:
    """The newest answer to each text that is not audited, the least sure first."""
    texts = {row.text: row for row in rows.values()}
    for one in audits:
        texts.pop(rows[one].text, None)
    return sorted(texts.values(), key=lambda row: row.probability or 1.0)


def _chosen(rows: Sequence[PredictionRow], now: Mapping[str, _Now], count: int) -> list[str]:
    """Ids of the answers that are least sure now, no two alike."""
    order = sorted((row.prediction_id for row in rows), key=lambda one: now[one].margin)
    order = order[: _SPREAD_EACH * count]
    if not order:
        return []
    vectors = np.stack([now[one].vector for one in order])
    return [order[at] for at in apart(vectors, count)]


def _size(size: int) -> int:
    if size > _MOST:
        raise InvalidRequest(
            f"size is {size}; ask for at most {_MOST}", reason="BAD_SIZE", field="size"
        )
    return size or _SIZE


def _audit_share(request: pb.ReviewRequest) -> float:
    share = request.audit_share if request.HasField("audit_share") else _AUDIT_SHARE
    if not 0 <= share <= 1:
        raise InvalidRequest(
            f"audit_share is {share}; it must be 0 to 1",
            reason="BAD_AUDIT_SHARE",
            field="audit_share",
        )
    return share


def _item(row: PredictionRow, margin: float, audit: bool) -> pb.ReviewItem:
    return pb.ReviewItem(
        prediction_id=row.prediction_id,
        text=row.text or "",
        label=row.label,
        probability=row.probability or 0.0,
        kind=pb.FEEDBACK_KIND_AUDIT if audit else pb.FEEDBACK_KIND_UNSPECIFIED,
        margin=margin,
    )


def _accuracy(share: Share) -> pb.Accuracy:
    low, high = share.interval
    return pb.Accuracy(labelled=share.total, right=share.right, low=low, high=high)
