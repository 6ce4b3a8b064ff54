"""Offers heads to a server over its local socket, as an adapt process does, but learns nothing.

So the cost of a swap is measured apart from the cost of learning. The server runs without its own
adapt process meanwhile.
"""

import os
import socket
from dataclasses import replace
from typing import TypeVar

from honed_adapt.head import Head
from honed_adapt.process import messages, wire
from honed_adapt.storage.versions import load_version
from honed_loadtest.server import ServerProcess

MessageT = TypeVar("MessageT")


class Publisher:
    """A connection that offers revisions of one model, each with another temperature.

    Args:
        server: A server without adapt process; the model has learned.
        model: The model to revise.
    """

    def __init__(self, server: ServerProcess, model: str) -> None:
        self._client = server.client()
        serving = self._client.get_model(model)
        _, self._head = load_version(server.home / "models", model, serving.version)
        self._model, self._revision, self.swaps = model, serving.revision, 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.home / "adapt" / "server.sock"))
        self._say(messages.Hello("adapt", os.getpid()))
        states = self._hear(messages.Models).models
        self._epoch = next(state.epoch for state in states if state.name == model)

    def swap(self) -> None:
        """Offers the next revision and waits until it serves.

        Raises:
            RuntimeError: The server refused it.
        """
        self._revision += 1
        self.swaps += 1
        head = _varied(self._head, self.swaps)
        self._say(messages.Revision(self._model, self._epoch, self._revision, head, 1, 0, 0, 0))
        verdict = self._hear(messages.Verdict)
        if verdict.outcome != "accepted":
            raise RuntimeError(f"the server refused a revision: {verdict.reason}")

    def swap_encoder(self, digest: str) -> None:
        """Offers the head over a stored encoder, promotes it by hand, and waits until it serves.

        Raises:
            HonedError: The server refused it.
        """
        self._say(messages.Candidate(self._model, digest, self._revision, self._head))
        verdict = self._hear(messages.Verdict)
        self._client.promote(self._model, verdict.number)
        states = self._hear(messages.Models).models
        self._epoch = next(state.epoch for state in states if state.name == self._model)

    def close(self) -> None:
        """Ends the connections."""
        self._socket.close()
        self._client.close()

    def _say(self, message: messages.Message) -> None:
        self._socket.sendall(messages.encode(message))

    def _hear(self, kind: type[MessageT]) -> MessageT:
        while True:
            frame = wire.read_frame(self._socket)
            assert frame is not None, "the server lives as long as its publisher"
            message = messages.decode(frame)
            if isinstance(message, kind):
                return message


def _varied(head: Head, number: int) -> Head:
    """A head of the same size, in new memory, that answers a little differently."""
    return replace(
        head, weight=head.weight.copy(), temperature=head.temperature * (1 + number % 10 / 100)
    )
