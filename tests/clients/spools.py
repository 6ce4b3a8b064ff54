"""What the tests of the spool say to the server, and read from the disk."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients.scripted import Fault, ScriptedServer, status
from honed import Client, FeedbackAck
from honed_proto.v1 import feedback_pb2 as pb

# Unlike UNAVAILABLE, gRPC does not repeat it, which would only cost time here.
FULL = Fault(status("RESOURCE_EXHAUSTED", "the disk is full", "DISK_FULL"))
DOWN = Fault(status("UNAVAILABLE", "stopping", "SHUTTING_DOWN"))
BAD = status("INVALID_ARGUMENT", "unknown label", "UNKNOWN_LABEL")


def accept(request: pb.SubmitRequest) -> pb.SubmitResponse:
    """Records every label but "bad"."""
    return pb.SubmitResponse(
        results=[
            pb.SubmitResult(error=BAD)
            if item.label == "bad"
            else pb.SubmitResult(ack=pb.FeedbackAck(feedback_id=item.idempotency_key))
            for item in request.items
        ]
    )


def submit(client: Client, *texts: str, label: str = "greet") -> list[FeedbackAck]:
    return [client.submit(model="support", text=text, label=label) for text in texts]


def sent(server: ScriptedServer, since: int = 0) -> list[str]:
    """Texts of the labels that have arrived after so many calls, in order."""
    calls = server.requests("Feedback.Submit")[since:]
    return [item.text for request in calls for item in request.items]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("feedback-*.jsonl"))


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
