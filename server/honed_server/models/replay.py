"""Recomputes an old answer: finds the head that gave it, or learns it again from the log.

Works without the adapt process: its vectors are only a cache, and what it learns depends on
nothing but the labels that counted, which `history.py` tells.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

import numpy as np

from honed_adapt.encoders.lineage import was_tuned
from honed_adapt.encoders.store import PROBABILITY_TOLERANCE
from honed_adapt.feedback.log import Kind, Record
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.feedback.redaction import has_marks
from honed_adapt.head import Head
from honed_adapt.instant.lane import Lane, Recipe, Row
from honed_adapt.scoring import weights_of
from honed_adapt.storage.vectors import Vector, read_vectors
from honed_kernels.head import grouped_head
from honed_proto.v1 import inference_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import DeadlinePassed, InvalidRequest, NotFound, NotReady
from honed_server.edge.rpc import Call
from honed_server.models import recipes
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.models.history import Moment, learned
from honed_server.models.registry import VersionRow
from honed_server.models.shelf import Shelf
from honed_server.serving.generations import LoadedEncoder
from honed_server.serving.predictions import PredictionLog, PredictionRow

# Texts encoded between two looks at the caller's deadline.
_STEP_TEXTS = 64


class Replays:
    """Answers Inference.Replay, one at a time: serving keeps its cores. Event loop only.

    Args:
        catalogue: The models.
        shelf: Their versions.
        predictions: What was answered.
        trust: Trust by submitter, as the adapt process has it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        shelf: Shelf,
        predictions: PredictionLog,
        trust: Mapping[str, float],
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._predictions = predictions
        self._trust = trust
        self._turn = asyncio.Lock()

    async def replay(self, request: pb.ReplayRequest, call: Call) -> pb.ReplayResponse:
        """Recomputes one answer and compares; see inference.proto for the errors."""
        validate.identifier(request.prediction_id, "prediction_id", required=True)
        top_k = validate.top_k(request.top_k)
        old = await self._answer(request.prediction_id)
        entry = self._catalogue.entry(old.model, "prediction_id")
        async with self._turn:
            version = self._shelf.find(old.model, old.version)
            moment, labels, recipe = await asyncio.to_thread(self._learned, version, old)
            text = _text(old, request.text, self._predictions.redacted)
            digest, pool = version.encoder_digest, self._catalogue.pool
            if moment.from_disk and not version.tainted_position:
                head, count = (await self._shelf.read(version)).head, 0
            else:
                loaded = await pool.get(digest)  # labels are learned in float32
                base = await self._own_head(entry, version.encoder_digest)
                head, count = await asyncio.to_thread(
                    self._learn, old.model, labels, loaded, base, recipe, call
                )
            loaded = await pool.get(digest, old.precision)
            probabilities = await asyncio.to_thread(_probabilities, head, loaded, text)
        return _response(old, text, probabilities, count, top_k)

    async def _answer(self, prediction_id: str) -> PredictionRow:
        recent = self._predictions.recent(prediction_id)
        old = recent or await asyncio.to_thread(self._predictions.find, prediction_id)
        if old is None:
            raise NotFound(
                f"prediction {validate.shown(prediction_id)} is not in the log (any more)",
                reason="UNKNOWN_PREDICTION",
                field="prediction_id",
            )
        if old.probability is None:
            raise NotReady(
                f"prediction {prediction_id} was logged by an earlier Honed without its "
                "probability: there is nothing to compare with",
                reason="PROBABILITY_NOT_KEPT",
            )
        return old

    def _learned(
        self, version: VersionRow, old: PredictionRow
    ) -> tuple[Moment, list[Record], Recipe | None]:
        """When that was, which labels counted then, and how they were mixed if that is on record.

        Raises:
            NotReady: One of them has been deleted since.
        """
        registry, model = self._catalogue.registry, old.model
        moment = Moment.of(version, old.revision, registry.decisions(model, -1), old.time)
        with FeedbackReader(self._catalogue.home / "feedback.sqlite") as reader:
            records = reader.history(model)
        rows = registry.versions(model)
        labels = learned(records, moment, {row.version: row for row in rows})
        gone = [record for record in labels if record.deleted_position]
        if gone:
            raise _forgotten(min(gone, key=lambda record: record.deleted_position))
        found = recipes.valid(moment.decisions, rows, version.encoder_digest, old.revision)
        return moment, labels, None if found is None else Recipe.of(found)

    async def _own_head(self, entry: Entry, encoder_digest: str) -> Head | None:
        """The head that the model was imported with, if that encoder is the one behind it."""
        number = entry.own_head_behind(encoder_digest)
        if not number:
            return None
        return (await self._shelf.read(self._shelf.find(entry.row.name, number))).head

    def _learn(
        self,
        model: str,
        labels: Sequence[Record],
        loaded: LoadedEncoder,
        base: Head | None,
        recipe: Recipe | None,
        call: Call,
    ) -> tuple[Head, int]:
        """The head that these labels make, and how many of them are in effect."""
        vectors = self._vectors(model, labels, loaded, call)
        tuned = was_tuned(self._catalogue.home, loaded.encoder.digest)
        lane = Lane(loaded.encoder.hidden, base=base, trust=self._trust, tuned=tuned)
        lane.rebuild(
            (
                Row(
                    position=label.position,
                    text_hash=label.text_hash,
                    label=label.label,
                    submitter=label.submitter,
                    weight=label.counts,
                    vector=vectors[label.position],
                    votes=label.kind is Kind.AUDIT and not label.shares,
                    shares=label.shares,
                )
                for label in labels
            ),
            recipe,
        )
        return lane.head, lane.effective

    def _vectors(
        self, model: str, labels: Sequence[Record], loaded: LoadedEncoder, call: Call
    ) -> dict[int, Vector]:
        """Vectors by log position: those that the adapt process keeps, the others encoded here."""
        positions = [record.position for record in labels]
        cache = self._catalogue.home / "adapt" / "adapt.sqlite"
        vectors = read_vectors(cache, model, loaded.encoder.digest, positions)
        missing = [record for record in labels if record.position not in vectors]
        if any(not record.text for record in missing):
            raise NotReady(
                "it cannot be recomputed: texts of labels that it had learned are not kept any "
                "more, and neither are their vectors",
                reason="REPLAY_FORGOTTEN",
            )
        for start in range(0, len(missing), _STEP_TEXTS):
            if call.remaining_s() <= 0:
                raise DeadlinePassed(
                    f"{len(missing) - start} labels are not encoded yet; allow more time"
                )
            step = missing[start : start + _STEP_TEXTS]
            encoded = loaded.vectors([record.text for record in step])
            vectors.update(zip((r.position for r in step), encoded, strict=True))
        return vectors


def _text(old: PredictionRow, sent: str, redacted: Callable[[str], str]) -> str:
    """The text that was asked about: as the caller sends it, or as logged if that is all of it."""
    if sent:
        validate.text(sent, "text")
    if sent and old.text not in (None, redacted(sent)):
        raise InvalidRequest(
            f"text is not the one that prediction {old.prediction_id} answered; leave it out",
            reason="TEXT_MISMATCH",
            field="text",
        )
    text = sent or old.text
    if not text or (not sent and redacted is not str and has_marks(text)):
        raise NotReady(
            f"the text of prediction {old.prediction_id} is not kept here as it was: the server "
            "keeps none, redacts it, or has erased it with deleted feedback; send the text along",
            reason="TEXT_NOT_KEPT",
            field="text",
        )
    return text


def _forgotten(label: Record) -> NotReady:
    position, when = label.deleted_position, datetime.fromtimestamp(label.deleted_time, UTC)
    time = when.isoformat(timespec="milliseconds")
    return NotReady(
        f"it cannot be recomputed: feedback {label.feedback_id}, which that revision had learned, "
        f"was deleted at log position {position} ({time}) by {label.deleted_by!r}",
        reason="REPLAY_FORGOTTEN",
        metadata={
            "feedback_id": label.feedback_id,
            "deleted_position": str(position),
            "deleted_time": time,
            "deleted_by": label.deleted_by,
        },
    )


def _probabilities(head: Head, loaded: LoadedEncoder, text: str) -> dict[str, float]:
    """Probability by label, best first."""
    if not head.labels:
        return {}
    output = grouped_head(
        loaded.vectors([text]),
        np.zeros(1, np.int64),
        [weights_of(head)],
        top_k=head.num_labels,
    )
    names = [head.labels[index] for index in output.indices[0].tolist()]
    return dict(zip(names, output.probabilities[0].tolist(), strict=True))


def _response(
    old: PredictionRow, text: str, probabilities: Mapping[str, float], count: int, top_k: int
) -> pb.ReplayResponse:
    assert old.probability is not None, "answers without one are refused"
    difference = abs(probabilities.get(old.label, 0.0) - old.probability)
    response = pb.ReplayResponse(
        prediction_id=old.prediction_id,
        model=old.model,
        version=old.version,
        revision=old.revision,
        text=text,
        label=old.label,
        probability=old.probability,
        difference=difference,
        matches=next(iter(probabilities), None) == old.label
        and difference <= PROBABILITY_TOLERANCE[old.precision],
        labels_learned=count,
    )
    response.time.FromNanoseconds(int(old.time * 1e9))
    for label, probability in islice(probabilities.items(), top_k):
        response.scores.add(label=label, probability=probability)
    return response
