"""RPC `Models.Export`: chooses what is exported, describes it, and sends the folder."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from honed_adapt.encoders.export import ExportFile, export_files
from honed_adapt.encoders.store import EncoderDamaged, open_encoder
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.head import Head
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import NotReady
from honed_server.edge.rpc import Call
from honed_server.models import model_card
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.models.history import Moment, learned, standing
from honed_server.models.registry import VersionRow, VersionState
from honed_server.models.shelf import Shelf
from honed_server.serving.generations import LoadedEncoder
from honed_server.trials import gate

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A head that may be exported, and when it served."""

    version: VersionRow
    revision: int
    head: Head
    loaded: LoadedEncoder
    learned: Mapping[str, float]
    time: float


class Exports:
    """Answers Models.Export. Event loop only; files are read and hashed in threads.

    Args:
        catalogue: The models.
        shelf: Their versions.
        trust: Trust by submitter, as the adapt process has it.
    """

    def __init__(self, catalogue: Catalogue, shelf: Shelf, trust: Mapping[str, float]) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._trust = trust

    async def export(
        self, request: pb.ExportModelRequest, _call: Call
    ) -> AsyncIterator[pb.ExportModelResponse]:
        """Sends a folder that transformers loads; see models.proto."""
        entry = self._catalogue.entry(request.model)
        async with self._catalogue.hold(entry):  # head, weight and anchor set belong together
            chosen = await self._choose(entry, request.version)
            metrics = await self._metrics(entry, chosen)
        files = await asyncio.to_thread(self._files, chosen, metrics)
        start = pb.ExportModelStart(
            model=chosen.version.model, version=chosen.version.version, revision=chosen.revision
        )
        for file in files:
            digest = await asyncio.to_thread(file.sha256)
            start.files.add(path=file.path, size=file.size, sha256=digest)
        yield pb.ExportModelResponse(start=start)
        for file in files:
            chunks = file.chunks(_CHUNK_BYTES)
            while (data := await asyncio.to_thread(next, chunks, None)) is not None:
                yield pb.ExportModelResponse(chunk=pb.FileChunk(path=file.path, data=data))

    async def _choose(self, entry: Entry, number: int) -> _Chosen:
        """What serves (number 0) or a version from disk.

        Raises:
            NotFound: No such version.
            NotReady: It must not be used, is damaged, or knows fewer than two labels.
        """
        model = entry.row.name
        if number:
            version = self._shelf.find(model, number)
            _check_exportable(version)
            stored = await self._shelf.read(version)
            chosen = _Chosen(
                version, version.log_position, stored.head, stored.loaded,
                stored.metrics, version.created,
            )  # fmt: skip
        else:
            serving = self._catalogue.serving(model)
            if not self._catalogue.has_forgotten(entry, entry.deletion_position):
                raise NotReady(
                    "what serves has not forgotten yet what was deleted; delete again to finish "
                    "that",
                    reason="DELETION_PENDING",
                )
            version = self._shelf.find(model, serving.version)
            chosen = _Chosen(
                version, serving.revision, serving.head, serving.loaded, entry.weighed, time.time()
            )
        if chosen.head.num_labels < 2:
            raise NotReady(
                f"version {version.version} of model {model!r} knows {chosen.head.num_labels} "
                "labels; a classifier that transformers loads needs two: teach it more first",
                reason="TOO_FEW_LABELS",
            )
        return chosen

    async def _metrics(self, entry: Entry, chosen: _Chosen) -> dict[str, float]:
        """Numbers about the head, measured now or recorded with it."""
        metrics: dict[str, float] = {"anchor_examples": entry.anchor_total}
        if entry.anchor_total:
            metrics["anchor_correct"] = await gate.anchor_correct(
                self._catalogue, entry, chosen.head, chosen.loaded
            )
        if entry.own_head_behind(chosen.loaded.encoder.digest):
            names = ("learned_weight", "learned_evidence")
            metrics |= {name: chosen.learned[name] for name in names if name in chosen.learned}
        return metrics

    def _files(self, chosen: _Chosen, metrics: Mapping[str, float]) -> list[ExportFile]:
        """The folder; call it in a thread.

        Raises:
            NotReady: The encoder is damaged.
        """
        catalogue, version = self._catalogue, chosen.version
        try:
            encoder = open_encoder(catalogue.home, version.encoder_digest)
        except EncoderDamaged as error:
            raise NotReady(str(error), reason="ENCODER_DAMAGED") from error
        with FeedbackReader(catalogue.home / "feedback.sqlite") as reader:
            records = reader.history(version.model)
        decisions = catalogue.registry.decisions(version.model, -1)
        versions = {row.version: row for row in catalogue.registry.versions(version.model)}
        moment = Moment.of(version, chosen.revision, decisions, chosen.time)
        facts = model_card.facts(
            model_card.Exported(version, chosen.revision, chosen.head, encoder, metrics),
            records,
            standing(learned(records, moment, versions), self._trust),
            self._shelf.lineage(version.model, version.version),
            decisions,
        )
        described = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        return [
            *export_files(encoder, chosen.head),
            ExportFile("honed.json", [described.encode()]),
            ExportFile("README.md", [model_card.card(facts, encoder, chosen.head).encode()]),
        ]


def _check_exportable(version: VersionRow) -> None:
    if version.state is VersionState.REFUSED:
        fault = "was refused by the gate; export what serves instead, or promote it first"
    elif version.tainted_position:
        fault = (
            f"was learned from feedback deleted at log position {version.tainted_position}; "
            "export what serves instead"
        )
    else:
        return
    raise NotReady(f"version {version.version} {fault}", reason="CANNOT_EXPORT")
