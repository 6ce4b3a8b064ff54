"""How a model begins: empty, or with the head that its user has trained.

Second stop of a user's own model: `uploads.py` holds its folder, and what is made of it here serves
as version 1. All later versions are `lifecycle.py`'s.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.own_head import HeadUntrained, read_own_head
from honed_adapt.encoders.store import (
    PROBABILITY_TOLERANCE,
    EncoderFiles,
    import_encoder,
    open_encoder,
)
from honed_adapt.head import Head
from honed_adapt.insight.scores import softmax
from honed_adapt.process.messages import Candidate
from honed_adapt.scoring import logits_of
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import Conflict, InvalidRequest, NotReady
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import ModelExists
from honed_server.models.shelf import Draft, Shelf
from honed_server.serving.generations import LoadedEncoder

T = TypeVar("T")

_UNPROVEN = {"learned_weight": 0.0, "learned_evidence": 0.0}


@dataclass(frozen=True, slots=True)
class NewModel:
    """What a caller asks for.

    Attributes:
        name: See models.proto.
        labels: Those declared; a model with an own head has that head's.
        closed: Whether other labels are refused.
        own_head: Whether it begins with the head of a checkpoint.
    """

    name: str
    labels: tuple[str, ...] = ()
    closed: bool = False
    own_head: bool = False

    def validate(self) -> None:
        """Raises InvalidRequest naming the field that is wrong."""
        validate.model_name(self.name, "name")
        for i, label in enumerate(self.labels):
            validate.label(label, f"labels[{i}]")
        if self.own_head and self.labels:
            raise InvalidRequest(
                "the checkpoint's head names the labels; leave them out, or leave out the head",
                reason="UNEXPECTED_FIELD",
                field="labels",
            )
        if self.closed and not self.own_head and not self.labels:
            raise InvalidRequest(
                "closed_labels needs labels", reason="MISSING_FIELD", field="labels"
            )


class Creation:
    """Creates models. Event loop only.

    Args:
        catalogue: Where they are entered.
        shelf: Where their first version is written.
        default_encoder: Digest of the encoder of models that name none.
        executor: Imports encoders: seconds of work that may wait.
    """

    def __init__(
        self, catalogue: Catalogue, shelf: Shelf, default_encoder: str, executor: Executor
    ) -> None:
        self._catalogue = catalogue
        self._shelf = shelf
        self._default_encoder = default_encoder
        self._executor = executor
        self._creating = asyncio.Lock()

    async def check(self, new: NewModel) -> None:
        """Sees that the model can be created, so far as that is known before its folder.

        Raises:
            InvalidRequest: Not a model name or not a label.
            Conflict: The name is or was in use.
        """
        new.validate()
        try:
            await asyncio.to_thread(self._catalogue.registry.check_free, new.name)
        except ModelExists as error:
            raise Conflict(str(error), reason="MODEL_EXISTS", field="name") from error

    async def create(self, new: NewModel, encoder_digest: str, actor: str) -> Entry:
        """Creates a model that knows no label yet, as version 1.

        Raises:
            InvalidRequest, Conflict: See `check`.
            NotFound: No such encoder here.
            NotReady: The encoder is damaged.
        """
        new.validate()
        if encoder_digest:
            self._catalogue.pool.check_known(encoder_digest, "encoder_digest")
        loaded = await self._catalogue.pool.get(encoder_digest or self._default_encoder)
        return await self._found(new, loaded, Head.empty(loaded.encoder.hidden), actor)

    async def import_model(self, new: NewModel, folder: Path, actor: str) -> Entry:
        """Creates a model of a checkpoint: its encoder, and as version 1 its head, if wanted.

        Raises:
            InvalidRequest: Honed cannot serve the checkpoint, or its head was never trained.
            Conflict: See `check`.
        """
        if new.own_head:
            own, _, loaded = await self._classifier(folder)
            return await self._found(replace(new, labels=own.labels), loaded, own, actor)
        try:
            digest = await self._run(
                lambda: import_encoder(folder, self._catalogue.home, classifier=False)
            )
        except EncoderUnsupported as error:
            raise _unsupported(error, folder) from error
        loaded = await self._imported(digest)
        return await self._found(new, loaded, Head.empty(loaded.encoder.hidden), actor)

    async def candidate_of(self, model: str, folder: Path) -> Candidate:
        """What a checkpoint offers a model that is there: its encoder, and its head over it.

        Raises:
            InvalidRequest: As `import_model`.
        """
        own, digest, _ = await self._classifier(folder)
        return Candidate(model, digest, 0, own, metrics=_UNPROVEN, source="import")

    async def _classifier(self, folder: Path) -> tuple[Head, str, LoadedEncoder]:
        """The head of a checkpoint, and its encoder, whose answers were compared."""
        try:
            own = await self._run(read_own_head, folder)
            _check_labels(own)
            digest = await self._run(
                lambda: import_encoder(folder, self._catalogue.home, classifier=True)
            )
        except EncoderUnsupported as error:
            raise _unsupported(error, folder) from error
        loaded = await self._imported(digest)
        files = await self._run(open_encoder, self._catalogue.home, digest)
        await self._run(_check_answers, files, loaded, own)
        return own, digest, loaded

    async def _imported(self, digest: str) -> LoadedEncoder:
        """An encoder whose files were verified just now: only the engine can stand against it."""
        try:
            return await self._catalogue.pool.get(digest)
        except NotReady as error:
            raise InvalidRequest(
                "this server's engine would not compute the vectors that the checkpoint's weights "
                "make, which happens when they are extreme; train the model again",
                reason="CHECKPOINT_UNSUPPORTED",
                field="files",
            ) from error

    async def _found(self, new: NewModel, loaded: LoadedEncoder, head: Head, actor: str) -> Entry:
        """Enters the model; a caller that leaves meanwhile leaves a whole model or none."""
        return await asyncio.shield(self._enter(new, loaded, head, actor))

    async def _enter(self, new: NewModel, loaded: LoadedEncoder, head: Head, actor: str) -> Entry:
        c, digest = self._catalogue, loaded.encoder.digest
        async with self._creating:
            try:
                row = await asyncio.wrap_future(
                    c.registry.create_model(
                        new.name,
                        digest,
                        closed_labels=new.closed,
                        declared_labels=new.labels,
                        own_head_version=int(new.own_head),
                    )
                )
            except ModelExists as error:
                raise Conflict(str(error), reason="MODEL_EXISTS", field="name") from error
            entry = Entry(row, own_encoder=digest if new.own_head else "")
            reason = f"with a head for {head.num_labels} labels" if new.own_head else "empty"
            record = decision(new.name, "create", "created", actor=actor, reason=reason, version=1)
            number = await asyncio.wrap_future(c.registry.label_set_number(new.name, head.labels))
            source, metrics = ("import", _UNPROVEN) if new.own_head else ("create", {})
            draft = Draft(1, 0, 0, head, number, loaded, source, metrics=metrics)
            version = await self._shelf.write(new.name, draft, record)
            await self._shelf.activate(entry, version, record)
            entry.weigh(metrics)
            c.entries[new.name] = entry
            c.publish(entry, 1, 0, number, head, kind=pb.ModelEvent.KIND_CREATED, loaded=loaded)
        c.tell_adapt(c.models_message())
        return entry

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, work, *args)


def _unsupported(error: EncoderUnsupported, folder: Path) -> InvalidRequest:
    """The fault as the caller knows it: the folder's name here means nothing to them."""
    message = str(error).replace(f"{folder}/", "").replace(str(folder), "the folder")
    untrained = isinstance(error, HeadUntrained)
    reason = "HEAD_UNTRAINED" if untrained else "CHECKPOINT_UNSUPPORTED"
    return InvalidRequest(message, reason=reason, field="files")


def _check_labels(head: Head) -> None:
    for i, label in enumerate(head.labels):
        try:
            validate.label(label, f"config.json: id2label[{i}]")
        except InvalidRequest as fault:
            raise InvalidRequest(fault.message, reason=fault.reason, field="files") from fault


def _check_answers(files: EncoderFiles, loaded: LoadedEncoder, head: Head) -> None:
    """Sees that the engine's vectors of the probes get the answers that the checkpoint's get."""
    served = _probabilities(head, loaded.encoder.encode(list(files.probes.rows)))
    expected = _probabilities(head, files.probes.vectors)
    allowed = PROBABILITY_TOLERANCE[loaded.encoder.precision]
    if not (off := np.abs(served - expected).max()) <= allowed:
        raise InvalidRequest(
            f"this server would answer otherwise than the checkpoint: probabilities differ by "
            f"{off:.1e}, allowed is {allowed:.0e}; import its encoder alone, without the head",
            reason="CHECKPOINT_UNSUPPORTED",
            field="files",
        )


def _probabilities(head: Head, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    return softmax(logits_of(head, vectors) / head.temperature)
