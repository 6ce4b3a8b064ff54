"""Feedback kept on disk while the server is away, and sent in order when it is back.

The spool is a folder of segments (`_segment.py`). Each client appends to its own, so that several
processes may share the folder; what a dead one left is taken over by the next client. Every label
carries its idempotency key: sent twice it is recorded once, so progress needs no record. What the
server refuses goes to `rejected.jsonl` with its error.
"""

import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path

from google.protobuf.json_format import MessageToDict, ParseDict

from honed._connection import Connection
from honed._convert import ack_from
from honed._retry import TRANSIENT, backoff_s
from honed._rpcs import SUBMIT
from honed._segment import Record, Segment, append_durably
from honed.errors import HonedError, InvalidRequest, Overloaded, ServerError, Unavailable
from honed.types import SpoolFlush
from honed_proto.v1 import feedback_pb2

MAX_BYTES = 256 * 1024 * 1024

_SEGMENT_BYTES = 1024 * 1024
_CALL_ITEMS = 256  # what the server takes in one call
_LONGEST_BACKOFF_S = 15.0


class Spool:
    """A queue on disk, and the thread that empties it, which lives while something waits.

    Args:
        folder: Where it is; made if missing. One server's only.
        connection: The spool's own, to the server.
        max_bytes: Most bytes in the folder, rejected labels included.

    Raises:
        OSError: The folder cannot be used.
    """

    def __init__(self, folder: Path, connection: Connection, max_bytes: int = MAX_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._connection = connection
        self._max_bytes = max_bytes
        self._draining = threading.Lock()
        self._closed = threading.Event()
        self._lock = threading.Lock()  # of what follows
        self._segments = deque(Segment.leftovers(folder))
        self._growing: Segment | None = None  # the one of them that is appended to
        self._thread: threading.Thread | None = None
        self._start_if_needed()

    @property
    def waiting(self) -> bool:
        """Whether something has not been sent yet."""
        return bool(self._segments)

    def keep(self, request: feedback_pb2.SubmitRequest) -> None:
        """Writes labels durably, to be sent later.

        Raises:
            Overloaded: The spool is full.
            Unavailable: The disk does not take them.
        """
        now = datetime.now(UTC)
        for item in request.items:
            if not item.HasField("event_time"):  # its arrival will be later than it was labelled
                item.event_time.FromDatetime(now)
        records = [{"model": request.model, "item": MessageToDict(item)} for item in request.items]
        with self._lock:
            self._check_room(request.ByteSize())
            try:
                self._append(records)
            except OSError as error:
                self._growing = None
                message = f"the server takes no feedback now, and the spool neither: {error}"
                raise Unavailable(message, "SPOOL_FAILED", "UNAVAILABLE") from error
            if self._closed.is_set():
                self._let_go()
            self._start_if_needed()

    def flush(self) -> SpoolFlush:
        """Sends what waits, and what other processes left.

        Raises:
            HonedError: The server cannot take it now; what is left still waits.
            OSError: `rejected.jsonl` cannot be written.
        """
        recorded = rejected = 0
        with self._draining:
            with self._lock:
                self._segments.extend(Segment.leftovers(self._folder))
            while (segment := self._oldest()) is not None:
                for outcomes in self._drain(segment):
                    refused = sum(isinstance(outcome, HonedError) for outcome in outcomes)
                    recorded += len(outcomes) - refused
                    rejected += refused
                with self._lock:
                    self._segments.popleft().remove()
        return SpoolFlush(recorded, rejected)

    def close(self) -> None:
        """Stops sending; what waits is there for the next client."""
        self._closed.set()
        self._connection.close()
        if (thread := self._thread) is not None:
            thread.join()
        with self._draining, self._lock:
            self._let_go()

    def _let_go(self) -> None:
        while self._segments:
            self._segments.popleft().close()
        self._growing = None

    def _check_room(self, size: int) -> None:
        used = 0
        for path in self._folder.glob("*.jsonl"):
            with suppress(FileNotFoundError):  # another process has just sent it
                used += path.stat().st_size
        if used + size > self._max_bytes:
            message = (
                f"the server takes no feedback now, and the spool {self._folder} is full ({used} "
                "bytes); see to the server, or to rejected.jsonl there"
            )
            raise Overloaded(message, "SPOOL_FULL", "RESOURCE_EXHAUSTED")

    def _append(self, records: list[Record]) -> None:
        if self._growing is None or self._growing.size >= _SEGMENT_BYTES:
            self._growing = Segment.create(self._folder)
            self._segments.append(self._growing)
        self._growing.append(records)

    def _oldest(self) -> Segment | None:
        """The next segment to send; nothing is appended to it any more."""
        with self._lock:
            segment = self._segments[0] if self._segments else None
            if segment is self._growing:
                self._growing = None
            return segment

    def _drain(self, segment: Segment) -> Iterator[list[HonedError | None]]:
        for model, run in groupby(segment.records(), key=lambda record: record.get("model")):
            while records := list(islice(run, _CALL_ITEMS)):
                outcomes = self._submit(model, records)
                for record, error in zip(records, outcomes, strict=True):
                    if error is not None:
                        self._reject(record, error)
                segment.done += len(records)
                yield outcomes

    def _submit(self, model: str | None, records: list[Record]) -> list[HonedError | None]:
        """What is wrong with each record, None if it is recorded now; raises what may pass."""
        if model is None:
            return [InvalidRequest("damaged on disk", "SPOOL_DAMAGED")] * len(records)
        request = feedback_pb2.SubmitRequest(model=model)
        for record in records:
            ParseDict(record["item"], request.items.add(), ignore_unknown_fields=True)
        try:
            results = [
                ack_from(result) for result in self._connection.call(SUBMIT, request).results
            ]
        except TRANSIENT:
            raise
        except HonedError as error:
            if len(records) > 1:  # the others may be innocent
                return [self._submit(model, [record])[0] for record in records]
            return [error]
        if len(results) != len(records):
            raise ServerError("the server did not answer each label", "BAD_RESPONSE", "INTERNAL")
        for result in results:
            if isinstance(result, TRANSIENT):
                raise result
        return [result if isinstance(result, HonedError) else None for result in results]

    def _reject(self, record: Record, error: HonedError) -> None:
        fault = {"message": error.message, "reason": error.reason, "status": error.status}
        line = json.dumps({"time": datetime.now(UTC).isoformat(), **record, "error": fault})
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        descriptor = os.open(self._folder / "rejected.jsonl", flags, 0o600)
        try:
            append_durably(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def _start_if_needed(self) -> None:
        if self._segments and self._thread is None and not self._closed.is_set():
            self._thread = threading.Thread(target=self._work, daemon=True, name="honed-spool")
            self._thread.start()

    def _work(self) -> None:
        failures, pause_s = 0, backoff_s(1)
        while not self._closed.wait(pause_s):
            try:
                self.flush()
            except (HonedError, OSError) as error:
                failures += 1
                hint_s = getattr(error, "retry_after_s", None) or 0.0
                pause_s = max(backoff_s(failures, _LONGEST_BACKOFF_S), hint_s)
                continue
            with self._lock:
                if not self._segments:
                    self._thread = None
                    return
