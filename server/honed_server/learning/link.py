"""The server's end of the local socket: hears offers, tells the adapt process what changed.

One Unix socket inside the data folder (mode 0700). What comes over it is checked like any input:
a torn frame or an unknown message ends that connection and nothing else.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from honed_adapt.head import HeadError
from honed_adapt.process import messages, wire
from honed_adapt.process.findings import Deleted, Distrust, Grown, Unreadable
from honed_adapt.process.questions import Explained, Suspected
from honed_adapt.storage.errors import StoreError
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import ServingError
from honed_server.feedback.distrust import take_finding
from honed_server.insight.questions import Questions
from honed_server.learning.revisions import install_revision
from honed_server.models.catalogue import Catalogue
from honed_server.models.lifecycle import Lifecycle
from honed_server.models.precision import take_integers
from honed_server.rounds.rounds import Rounds
from honed_server.trials.offers import Offers

log = structlog.get_logger(__name__)

# A head comes whole: by default its sender would be stopped 20 times on the way.
_READ_AHEAD = 4 << 20

# Linux refuses longer addresses of Unix sockets (sun_path holds 108 bytes).
MAX_SOCKET_PATH = 100


class AdaptLink:
    """Accepts the adapt process and trainers. Event loop only.

    Args:
        path: Of the socket.
        catalogue: The models.
        lifecycle: Makes versions of what serves, and has candidates catch up with it.
        offers: Judges candidates.
        rounds: What trainers work on.

    Attributes:
        questions: What the adapt process is asked and has not answered yet.
    """

    def __init__(
        self,
        path: Path,
        catalogue: Catalogue,
        lifecycle: Lifecycle,
        offers: Offers,
        rounds: Rounds,
    ) -> None:
        self._path = path
        self._catalogue = catalogue
        self._lifecycle = lifecycle
        self._offers = offers
        self._rounds = rounds
        self._trainers: dict[asyncio.StreamWriter, int] = {}
        self._adapt: asyncio.StreamWriter | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._learning: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.questions = Questions(self.tell)

    async def start(self) -> None:
        """Begins to listen; a socket left over from a crash is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_READ_AHEAD)
        os.chmod(self._path, 0o600)

    async def close(self) -> None:
        """Ends all connections; the adapt process exits when it sees that."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        self._path.unlink(missing_ok=True)

    def tell(self, message: messages.Message) -> bool:
        """Sends to the adapt process if it is there; if not it will ask when it comes."""
        if self._adapt is None or self._adapt.is_closing():
            return False
        self._adapt.write(messages.encode(message))
        return True

    def report(self, load: messages.Load) -> None:
        """Tells all who learn how busy the server is, but those who have not read the last time."""
        for writer in self._learning:
            if not writer.transport.get_write_buffer_size() and not writer.is_closing():
                writer.write(messages.encode(load))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (frame := await wire.read_frame_async(reader)) is not None:
                await self._hear(messages.decode(frame), writer)
        except ConnectionError:
            pass  # so it ends when a process has not read the last report of the load
        except wire.FrameError as error:
            log.warning("adapt connection ended", why=str(error))
        finally:
            self._writers.discard(writer)
            self._learning.discard(writer)
            if (pid := self._trainers.pop(writer, None)) is not None:
                await self._rounds.trainer_left(pid)
            if self._adapt is writer:
                self._adapt = None
                self.questions.lose()
                self._set_state("down")
            writer.close()

    async def _hear(self, message: messages.Message, writer: asyncio.StreamWriter) -> None:
        match message:
            case messages.Hello(role=role):
                self._learning.add(writer)
                if role == "trainer":
                    self._trainers[writer] = message.pid
                if role == "adapt":
                    self._adapt = writer
                    self._set_state("running")
                    self.tell(self._catalogue.models_message())
                    self.tell(self._rounds.order())
            case messages.Revision():
                verdict = await self._revision(message)
                writer.write(messages.encode(verdict))
                await self._checkpoint_when_due(verdict)
            case messages.Candidate():
                candidate = message
                verdict = await _judged(
                    candidate.model, 0, lambda: self._rounds.offered(candidate, self._offers)
                )
                writer.write(messages.encode(verdict))
            case messages.RoundProgress():
                await self._rounds.hear_progress(message, self._trainers.get(writer, 0))
            case messages.RoundEnded():
                await self._rounds.hear_ended(message)
            case messages.VectorsReady():
                self.tell(message)
            case Distrust() | Deleted() | Grown():
                await take_finding(self._catalogue, message)
            case Unreadable():
                self._lifecycle.catching_up.hear(message)
            case Explained() | Suspected():
                self.questions.settle(message)
            case messages.Integers():
                found = message
                verdict = await _judged(
                    found.model, found.labels, lambda: take_integers(self._catalogue, found)
                )
                writer.write(messages.encode(verdict))
            case _:
                raise wire.FrameError(f"{type(message).__name__} is not for the server")

    async def _revision(self, offer: messages.Revision) -> messages.Verdict:
        """Serves what was learned, or keeps it for the candidate whose encoder it is over."""

        async def judge() -> messages.Verdict:
            if offer.next_encoder:
                return await self._lifecycle.catching_up.take(offer)
            return await install_revision(self._catalogue, offer)

        return await _judged(offer.model, offer.revision, judge)

    async def _checkpoint_when_due(self, verdict: messages.Verdict) -> None:
        entry = self._catalogue.entries.get(verdict.model)
        if entry is None or verdict.outcome != "accepted":
            return
        try:
            await self._lifecycle.checkpoints.make_when_due(entry)
        except (ServingError, StoreError, OSError) as error:
            # What serves is in the log already: the version is written at the next occasion.
            log.warning("no version was written", model=verdict.model, why=str(error))

    def _set_state(self, state: str) -> None:
        self._catalogue.adapt_state = state
        self._catalogue.metrics.adapt_up.set(state == "running")
        for entry in self._catalogue.entries.values():
            self._catalogue.announce(entry, pb.ModelEvent.KIND_SNAPSHOT)


async def _judged(
    model: str, number: int, judge: Callable[[], Awaitable[messages.Verdict]]
) -> messages.Verdict:
    """The verdict, also when judging meets an error that the offer or a store caused."""
    try:
        return await judge()
    except (ServingError, HeadError, StoreError, OSError) as error:
        log.warning("offer refused", model=model, why=str(error))
        return messages.Verdict(model, number, "refused", str(error))
