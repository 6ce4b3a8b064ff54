"""Long texts: medical abstracts cut at the limit of tokens, served and by the encoder alone.

The encoder alone runs them packed, as served, and as the padded and fused graph that users of
other servers make of the same model (`peers/model.py`), several texts a run: since all are of equal
length nothing is padded there, so that the packed graph has nothing to win.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from honed import Client, Prediction
from honed_loadtest import costed, datasets
from honed_loadtest.arm import in_turn
from honed_loadtest.bench import Bench, in_chunks
from honed_loadtest.costed import Costed
from honed_loadtest.limit import Limit
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.servers import MODEL
from honed_loadtest.statistics import spread

DATA = "medical_abstracts"
CALLERS = 8
MOST_TEXTS = 256
SHAPES = (1, 2, 4)
SETTINGS = {
    "data": f"{DATA}, train file",
    "concurrency": CALLERS,
    "texts_a_batch": SHAPES,
    "aims": {"share_of_limit": 0.9, "padded_over_packed_s_a_token": 1.0},
}


def run(bench: Bench) -> dict[str, Any]:
    """Serves the longest texts and encodes them both ways, in turn."""
    seconds = bench.plan.seconds
    served: list[Costed] = []
    alone: list[float] = []
    padded: list[float] = []
    with bench.servers.learned() as server, server.client() as client:
        texts, tokens = _longest(client, bench.plan.rows)
        graph = _padded_graph(client, bench.scratch)
        job = bench.job(server, ClosedLoop(CALLERS, seconds))
        job = replace(job, questions=[(MODEL, text) for text in texts])
        with bench.encoder_alone(server, texts) as encoder:
            busy = bench.costed(server, job).outcome
            limit = Limit(encoder, busy, SHAPES, seconds / 4)
            other = Limit(encoder, busy, SHAPES, seconds / 4, padded=str(graph))
            arms: list[Callable[[], None]] = [
                lambda: served.append(bench.costed(server, job)),
                lambda: alone.append(limit.per_s(seconds)),
                lambda: padded.append(other.per_s(seconds)),
            ]
            for _, arm in in_turn(arms, bench.plan.rounds):
                arm()
    shares = [run.outcome.texts_per_s / per_s for run, per_s in zip(served, alone, strict=True)]
    return {
        "tokens_a_text": tokens,
        "texts": len(texts),
        "served": {"share_of_limit": spread(shares)} | costed.described(served),
        "packed": _described(alone, tokens, limit),
        "padded": _described(padded, tokens, other),
        "padded_over_packed": spread([a / p for a, p in zip(alone, padded, strict=True)]),
    }


def _longest(client: Client, rows: int | None) -> tuple[list[str], int]:
    """Texts of the greatest length in tokens, which the server tells, and that length."""
    lengths: dict[str, int] = {}
    for chunk in in_chunks(datasets.load(DATA, limit=rows).train):
        texts = [text for text, _ in chunk]
        for text, answer in zip(texts, client.predict_many(MODEL, texts), strict=True):
            if isinstance(answer, Prediction):
                lengths[text] = answer.num_tokens
        longest = max(lengths.values())
        found = [text for text, length in lengths.items() if length == longest]
        if len(found) >= MOST_TEXTS:
            break
    return found[:MOST_TEXTS], longest


def _padded_graph(client: Client, scratch: Path) -> Path:
    # Only here: it needs torch, which takes seconds to import.
    from honed_loadtest.peers import model

    folder = scratch / "padded"
    folder.mkdir()
    client.export_model(MODEL, folder / model.CHECKPOINT)
    model.make(folder)
    return folder / "model.onnx"


def _described(per_s: Sequence[float], tokens: int, limit: Limit) -> dict[str, Any]:
    return {
        "texts_per_s": spread(per_s),
        "ms_a_1000_tokens": spread([1e6 / (each * tokens) for each in per_s]),
        "texts_a_batch": limit.texts,
        "scan_per_s": {str(shape): round(found, 2) for shape, found in limit.scan.items()},
    }


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """What is served, and the encoder alone both ways."""
    served, tokens = results["served"], number(results["tokens_a_text"])
    rows = [
        [
            ranged(served["share_of_limit"], 3),
            *(ranged(served[key], digits) for key, digits in costed.DIGITS.items()),
        ]
    ]  # fmt: skip
    alone = [
        [
            name, str(of["texts_a_batch"]), ranged(of["texts_per_s"]),
            ranged(of["ms_a_1000_tokens"], 2),
            ranged(results["padded_over_packed"], 3) if name == "padded" else "1",
        ]
        for name in ("packed", "padded")
        for of in (results[name],)
    ]  # fmt: skip
    return [
        Table(
            f"Texts of {tokens} tokens, {CALLERS} callers (aim: 0.9 of the limit)",
            ["share of the limit", *costed.COLUMNS], rows,
        ),
        Table(
            "The encoder alone (aim: padded takes at least as long)",
            ["graph", "texts a run", "texts/s", "ms for 1000 tokens", "time of packed"], alone,
        ),
    ]  # fmt: skip
