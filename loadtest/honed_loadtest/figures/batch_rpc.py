"""Many texts in one RPC, beside what the encoder does alone in the same minutes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from honed_loadtest import costed
from honed_loadtest.arm import in_turn
from honed_loadtest.bench import Bench
from honed_loadtest.costed import Costed
from honed_loadtest.limit import Limit
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.report import Table, ranged
from honed_loadtest.statistics import spread

TEXTS = 64
CONCURRENCY = (1, 2, 4)
ALONE_TEXTS = (4, 6, 8, 10)
SETTINGS = {
    "texts_a_call": TEXTS,
    "concurrency": CONCURRENCY,
    "alone_texts_a_batch": ALONE_TEXTS,
    "aims": {"share_of_limit": 0.95, "outside_engine_ms_a_text": 0.1},
}


def run(bench: Bench) -> dict[str, Any]:
    """Interleaves the arms, every second round in reverse order."""
    seconds = bench.plan.seconds
    found: dict[int, list[Costed]] = {callers: [] for callers in CONCURRENCY}
    limits: list[float] = []
    with bench.servers.learned() as server, bench.encoder_alone(server) as encoder:

        def ask(callers: int) -> None:
            job = replace(bench.job(server, ClosedLoop(callers, seconds)), texts=TEXTS)
            found[callers].append(bench.costed(server, job))

        ask(CONCURRENCY[-1])
        busy = found[CONCURRENCY[-1]].pop().outcome
        limit = Limit(encoder, busy, ALONE_TEXTS, seconds / 4)
        arms: list[Callable[[], None]] = [
            *(partial(ask, callers) for callers in CONCURRENCY),
            lambda: limits.append(limit.per_s(seconds)),
        ]
        for _, arm in in_turn(arms, bench.plan.rounds):
            arm()
    return {
        "encoder_alone_per_s": spread(limits),
        "texts_a_batch": limit.texts,
        "cores_burnt_beside": round(limit.cores_burnt, 3),
        "calls": {str(callers): _described(runs, limits) for callers, runs in found.items()},
    }


def _described(runs: Sequence[Costed], limits: Sequence[float]) -> dict[str, Any]:
    pairs = zip(runs, limits, strict=True)
    shares = [one.outcome.texts_per_s / limit for one, limit in pairs]
    return {"share_of_limit": spread(shares)} | costed.described(runs)


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each number of callers, and the limit."""
    rows = [
        [
            callers, ranged(of["share_of_limit"], 3),
            *(ranged(of[key], digits) for key, digits in costed.DIGITS.items()),
        ]
        for callers, of in results["calls"].items()
    ]  # fmt: skip
    alone = f"encoder alone, {results['texts_a_batch']} texts a batch"
    blanks = [""] * (len(costed.COLUMNS) - 1)
    rows.append([alone, "1", ranged(results["encoder_alone_per_s"]), *blanks])
    title = f"{TEXTS} texts in one RPC (aims: 0.95 of the limit, 0.1 ms a text outside the engine)"
    return [Table(title, ["callers", "share of the limit", *costed.COLUMNS], rows)]
