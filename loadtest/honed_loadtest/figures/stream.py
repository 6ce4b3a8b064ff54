"""Learning one example at a time through the API, from an empty model: predict, then submit.

Every example is answered before its label is given (prequential accuracy); in the end the official
test file is asked. Three models learn at the same time, each from a caller of its own.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from honed import Client, InvalidRequest, Prediction
from honed_loadtest import datasets
from honed_loadtest.bench import Bench, accuracy
from honed_loadtest.datasets import Example
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.statistics import spread

BLOCKS = 7
# Without waiting at all a caller would run ahead of learning, and be answered by old revisions.
WAIT_EVERY = 32
SETTINGS = {
    "class_incremental_blocks": BLOCKS,
    "wait_every": WAIT_EVERY,
    "aims": {
        "banking77_accuracy": 0.90, "banking77_order_difference": 0.002, "clinc150_accuracy": 0.925
    },
}  # fmt: skip


def run(bench: Bench) -> dict[str, Any]:
    """All streams at the same time, then all tests."""
    plan, banking = bench.plan, bench.servers.banking
    clinc = datasets.load("clinc150", limit=plan.rows, without="oos")
    streams = {
        "banking77-random": (datasets.shuffled(banking.train, seed=plan.seed), banking.test),
        "banking77-class-incremental": (
            datasets.class_incremental(banking.train, blocks=BLOCKS, seed=plan.seed), banking.test
        ),
        "clinc150-random": (datasets.shuffled(clinc.train, seed=plan.seed), clinc.test),
    }  # fmt: skip
    with bench.servers.empty() as server, ThreadPoolExecutor(len(streams)) as pool:
        learning = {
            model: pool.submit(_stream, server, model, train)
            for model, (train, _) in streams.items()
        }
        learned = {model: future.result() for model, future in learning.items()}
        with server.client() as client:
            results = {
                model: {
                    **learned[model],
                    "test_examples": len(test),
                    "test_accuracy": accuracy(client, model, test),
                }
                for model, (_, test) in streams.items()
            }
    return {"streams": results, "order_difference": _difference(results)}


def _stream(server: ServerProcess, model: str, rows: Sequence[Example]) -> dict[str, Any]:
    started, hits = monotonic(), 0
    positions: list[int] = []
    lags: list[int] = []
    with server.client() as client:
        client.create_model(model)
        for n, (text, label) in enumerate(rows, start=1):
            guess = _guess(client, model, text)
            if guess is not None:
                hits += guess.label == label
                lags.append(len(positions) - bisect_right(positions, guess.revision))
            wait = n % WAIT_EVERY == 1 or n == len(rows)
            ack = client.submit(guess, model=model, text=text, label=label, wait=wait)
            if wait and not ack.served:
                raise RuntimeError(f"label {n} of {model} was not served before the deadline")
            positions.append(ack.position)
    return {
        "examples": len(rows),
        "classes": len({label for _, label in rows}),
        "prequential_accuracy": round(hits / len(rows), 4),
        "labels_not_yet_learned": spread(lags),
        "seconds": round(monotonic() - started, 1),
    }


def _guess(client: Client, model: str, text: str) -> Prediction | None:
    """The model's answer; None before it has learned anything."""
    try:
        return client.predict(model, text)
    except InvalidRequest as error:
        if error.reason != "NOTHING_LEARNED":
            raise
        return None


def _difference(results: Mapping[str, Any]) -> float:
    ordered, random = (
        results[f"banking77-{order}"]["test_accuracy"] for order in ("class-incremental", "random")
    )
    return round(float(ordered - random), 4)


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each stream."""
    rows = [
        [
            stream, number(of["examples"]), number(of["classes"]),
            number(of["prequential_accuracy"], 4), number(of["test_accuracy"], 4),
            ranged(of["labels_not_yet_learned"], 0), number(of["seconds"], 0),
        ]
        for stream, of in results["streams"].items()
    ]  # fmt: skip
    columns = [
        "stream", "examples", "classes", "accuracy before each label", "test accuracy",
        "labels not yet learned", "seconds",
    ]  # fmt: skip
    title = (
        "Learned one example at a time "
        "(aim: Banking77 0.90, the same in both orders within 0.002, CLINC150 0.925)"
    )
    difference = number(results["order_difference"], 4)
    rows.append(["Banking77: class-incremental minus random", "", "", "", difference, "", ""])
    return [Table(title, columns, rows)]
