"""A thousand models on one encoder, asked at random, against one of them.

Each has learned one label of each class from texts of its own. Both arms ask the same texts of the
same server.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import Any

import numpy as np

from honed_loadtest import costed
from honed_loadtest.arm import in_turn
from honed_loadtest.bench import PEAK_CONCURRENCY, Bench
from honed_loadtest.costed import Costed
from honed_loadtest.datasets import Example
from honed_loadtest.load import Question
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.report import Table, number, ranged
from honed_loadtest.server import ServerProcess
from honed_loadtest.servers import learn
from honed_loadtest.statistics import spread

MODELS, QUICK_MODELS = 1000, 5
LABELS = 8
_QUESTIONS = 8192
_AT_A_TIME = 8
SETTINGS = {
    "models": MODELS,
    "labels_each": LABELS,
    "concurrency": PEAK_CONCURRENCY,
    "aims": {"mix_over_one": 0.95},
}
ONE, MIX = "one model", "all models at random"


def run(bench: Bench) -> dict[str, Any]:
    """Creates the models, then asks one and all in turn."""
    count = MODELS if bench.plan.rows is None else QUICK_MODELS
    found: dict[str, list[Costed]] = {ONE: [], MIX: []}
    with bench.servers.empty() as server:
        started = monotonic()
        names = _created(bench, server, count)
        created_s = monotonic() - started
        questions = {ONE: _questions(bench, names[:1]), MIX: _questions(bench, names)}
        for number_, arm in in_turn(list(found), bench.plan.rounds):
            profile = ClosedLoop(PEAK_CONCURRENCY, bench.plan.seconds)
            job = replace(bench.job(server, profile, number_), questions=questions[arm])
            found[arm].append(bench.costed(server, job))
    pairs = zip(found[MIX], found[ONE], strict=True)
    return {
        "models": count,
        "created_s": round(created_s, 1),
        "mix_over_one": spread([mix.outcome.per_s / one.outcome.per_s for mix, one in pairs]),
        "arms": {arm: costed.described(runs) for arm, runs in found.items()},
    }


def _created(bench: Bench, server: ServerProcess, count: int) -> list[str]:
    """Models that have learned, several at a time."""
    by_label: dict[str, list[Example]] = {}
    for example in bench.servers.banking.train:
        by_label.setdefault(example[1], []).append(example)
    labels = sorted(by_label)

    def create(n: int) -> str:
        random = np.random.default_rng([bench.plan.seed, n])
        chosen = random.choice(len(labels), min(LABELS, len(labels)), replace=False)
        rows = [by_label[labels[i]] for i in chosen]
        name = f"model-{n + 1:04}"
        with server.client() as client:
            learn(client, name, [each[random.integers(len(each))] for each in rows])
        return name

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(create, range(count)))


def _questions(bench: Bench, models: Sequence[str]) -> list[Question]:
    drawn = np.random.default_rng(bench.plan.seed).integers(len(models), size=_QUESTIONS)
    return [(models[which], bench.asked[n % len(bench.asked)]) for n, which in enumerate(drawn)]


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """A row for each arm."""
    rows = [
        [
            arm, *(ranged(of[key], digits) for key, digits in costed.DIGITS.items()),
            ranged(results["mix_over_one"], 3) if arm == MIX else "1",
        ]
        for arm, of in results["arms"].items()
    ]  # fmt: skip
    title = (
        f"{results['models']} models on one encoder, created in {number(results['created_s'])} s "
        "(aim: 0.95 of one model)"
    )
    return [Table(title, ["asked", *costed.COLUMNS, "of one model"], rows)]
