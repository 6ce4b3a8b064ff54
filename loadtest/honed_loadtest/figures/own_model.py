"""What learned evidence adds to a user's own head, audit by audit, through the API.

A checkpoint is fine-tuned on some of the classes of Banking77. Three models answer rows that nobody
learns: the own head alone, the one that learns beside it, and one that has only the encoder and
learns the same labels. All rows are of the training file.
"""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from honed import Client, FeedbackAck, FeedbackItem
from honed_loadtest import datasets
from honed_loadtest.bench import Bench, accuracy, in_chunks
from honed_loadtest.datasets import Example
from honed_loadtest.report import Table, number

_FINE_TUNE = Path(__file__).parents[3] / "examples" / "fine_tune.py"
KNOWN_CLASSES = 40
OWN_ROWS, EPOCHS = 1200, 3
HELD_OUT = 600
AUDITS = (50, 100, 200, 400, 800, 1600)
SETTINGS = {
    "known_classes": KNOWN_CLASSES,
    "fine_tuned_on_rows": OWN_ROWS,
    "epochs": EPOCHS,
    "held_out_rows": HELD_OUT,
    "aims": {"most_under_the_better_of_both": 0.01},
}


def run(bench: Bench) -> dict[str, Any]:
    """Fine-tunes, imports, and looks after each number of audits."""
    rows = datasets.shuffled(bench.servers.banking.train, seed=bench.plan.seed)
    cut = min(HELD_OUT, len(rows) // 4)
    held_out, rows = rows[:cut], rows[cut:]
    known = set(sorted({label for _, label in rows})[:KNOWN_CLASSES])
    own = [row for row in rows if row[1] in known][:OWN_ROWS]
    taken = set(own)
    # Shuffled again: audits are a sample of all traffic, not what the first rows left over.
    audits = datasets.shuffled([row for row in rows if row not in taken], seed=bench.plan.seed + 1)
    with tempfile.TemporaryDirectory(prefix="honed-own-") as scratch:
        folder = _fine_tuned(own, Path(scratch))
        with bench.servers.empty() as server, server.client() as client:
            client.import_model("own", folder)
            client.import_model("encoder", folder, without_head=True)
            alone = accuracy(client, "own", held_out)
            steps = [
                _step(client, audits[before:after], after, held_out)
                for before, after in pairwise((0, *AUDITS))
                if before < len(audits)
            ]
    return {"own_head": alone, "steps": steps}


def _fine_tuned(rows: Sequence[Example], scratch: Path) -> Path:
    """A checkpoint that has learned the rows."""
    with (scratch / "own.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    command = [sys.executable, str(_FINE_TUNE), str(scratch / "own.csv"), str(scratch / "model")]
    subprocess.run([*command, "--epochs", str(EPOCHS)], check=True, stdout=subprocess.DEVNULL)
    return scratch / "model"


def _step(
    client: Client, audits: Sequence[Example], total: int, held_out: Sequence[Example]
) -> dict[str, Any]:
    """Both models learn the same audits, and are asked what they make of the held-out rows."""
    for model in ("own", "encoder"):
        for chunk in in_chunks(audits):
            items = [FeedbackItem(text=text, label=label) for text, label in chunk]
            for ack in client.submit_many(model, items, wait=True, timeout_s=60):
                if not isinstance(ack, FeedbackAck) or not ack.served:
                    raise RuntimeError(f"an audit of {model} was not served: {ack}")
    now = client.get_model("own")
    return {
        "audits": total,
        "served": accuracy(client, "own", held_out),
        "learned_alone": accuracy(client, "encoder", held_out),
        "learned_weight": now.learned_weight,
        "learned_evidence_nats": round(now.learned_evidence, 1),
    }


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each number of audits."""
    alone = results["own_head"]
    rows = []
    for step in results["steps"]:
        served, learned = step["served"], step["learned_alone"]
        rows.append([
            number(step["audits"]), number(alone, 3), number(learned, 3), number(served, 3),
            number(served - max(alone, learned), 3), number(step["learned_weight"], 2),
            number(step["learned_evidence_nats"]),
        ])  # fmt: skip
    columns = [
        "audits", "own head", "learned alone", "served", "served over the better",
        "learned weight", "evidence in nats",
    ]  # fmt: skip
    title = (
        f"A head fine-tuned on {KNOWN_CLASSES} of the 77 classes of Banking77, and audits of all "
        "(aim: at most 0.01 under the better)"
    )
    return [Table(title, columns, rows)]
