"""What only a real server shows: a label's way to the answers, p99 beside learning, the gate.

CLINC150 through the public API: 150 labels, and enough of them taught for the most features.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from honed import Client
from honed_adapt.gate.simulation import Setup
from honed_loadtest import datasets
from honed_loadtest.bench import checked
from honed_loadtest.datasets import Example
from honed_loadtest.labelling import labelling
from honed_loadtest.lives import AUDITED, CORRECTED, CORRECTED_TEXTS, lives
from honed_loadtest.load import Job, Outcome, run_load
from honed_loadtest.marks import Marks
from honed_loadtest.profile import OpenLoop
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import Servers, learn
from honed_loadtest.statistics import latencies

MODEL = "clinc150"
TAUGHT, TIMED = 3000, 200
LABELS_PER_S, ASKED_PER_S, SECONDS = 4.0, 20.0, 30.0
NULL_CANDIDATES, LIVES = 200, 60
_PATIENCE_S, _PAUSE_S = 300.0, 1.0


def product(scratch: Path, *, taught: int = TAUGHT, timed: int = TIMED) -> dict[str, Any]:
    """Starts a server, teaches it, and measures.

    Args:
        scratch: A short path for its data folder.
        taught: Labels that it learns before anything is measured.
        timed: Labels whose way to the answers is timed.
    """
    rows = datasets.shuffled(datasets.load(MODEL, without="oos").train, seed=0)
    with Servers(scratch).empty() as server, server.client() as client:
        learn(client, MODEL, rows[:taught])
        features = _settled(client)
        waited = _waits(client, rows[taught : taught + timed])
        later = rows[taught + timed :]
        idle, beside = _load(server, later), _load(server, later, client)
        classes = len({label for _, label in rows[:taught]})
    return {
        "labels": classes,
        "features": features,
        "label_to_served": latencies(waited),
        "asked_per_s": ASKED_PER_S,
        "labels_per_s": LABELS_PER_S,
        "answered_idle": latencies(idle.latencies_s),
        "answered_while_learning": latencies(beside.latencies_s),
        "false_promotions": false_promotions(scratch),
    }


def false_promotions(scratch: Path) -> dict[str, Any]:
    """How often the gate promotes candidates that are no better, in whole lives of a model."""
    return {
        "audited": lives(scratch, Setup(), AUDITED, LIVES, NULL_CANDIDATES),
        "corrections_only": lives(
            scratch, Setup(texts=CORRECTED_TEXTS), CORRECTED, LIVES, NULL_CANDIDATES
        ),
    }


def _settled(client: Client) -> int:
    """Waits until nothing is at work beside serving; how many features the model has then."""
    with client.watch(MODEL, timeout_s=_PATIENCE_S) as events:
        features = next(e.model.learning.features for e in events if e.model.settled)
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:  # the trial of integers takes a core for a minute
        if any(one.kind == "precision" for one in client.list_decisions(MODEL)):
            break
        time.sleep(_PAUSE_S)
    return features


def _waits(client: Client, rows: Sequence[Example]) -> list[float]:
    """Seconds from each label's acknowledgement until a revision with it serves."""
    found = []
    with client.watch(MODEL, timeout_s=_PATIENCE_S) as events:
        for text, label in rows:
            ack = client.submit(model=MODEL, text=text, label=label, submitter="bench")
            started = time.monotonic()
            next(event for event in events if event.model.revision >= ack.position)
            found.append(time.monotonic() - started)
    return found


def _load(server: ServerProcess, rows: Sequence[Example], client: Client | None = None) -> Outcome:
    """What a steady load gets, beside labels if there is a client that submits them."""
    questions = [(MODEL, text) for text, _ in rows]
    job = Job(server.target, questions, OpenLoop.steady(ASKED_PER_S, SECONDS), warm_s=2.0)
    if client is None:
        return checked(run_load(job))
    with labelling(client, [MODEL], rows, LABELS_PER_S)(Marks(client)):
        return checked(run_load(job))
