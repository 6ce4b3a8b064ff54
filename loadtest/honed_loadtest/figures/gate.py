"""The gate against candidates of known worth: false promotions, power, time to rollback.

Nothing is measured but the decisions: answers are drawn at random, and the product's own code
(`honed_adapt.gate.trials`) judges them after every label.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from honed_adapt.gate.simulation import Ending, Setup, candidate, life, watch
from honed_loadtest.bench import Bench
from honed_loadtest.report import Table, number

CANDIDATES = 200
# (accuracy gained, share of texts that only one side answers rightly)
GAINS = ((0.02, 0.08), (0.05, 0.1))
LOSSES = ((0.05, 0.1), (0.1, 0.15), (0.2, 0.25))
AUDITS = 6000
SETTINGS = {
    "candidates_a_life": CANDIDATES,
    "gains": GAINS,
    "losses": LOSSES,
    "audits_a_trial": AUDITS,
    "aims": {"lives_with_a_false_promotion": 0.05},
}


def run(bench: Bench) -> dict[str, Any]:
    """Draws lives of null candidates, candidates that gain, and promotions that lose."""
    plan = bench.plan
    lives, count = max(plan.labels // 50, 1), max(plan.labels // 5, 2)
    nulls = [life(Setup(), CANDIDATES, seed) for seed in range(plan.seed, plan.seed + lives)]
    corrected = life(Setup(audits=0), CANDIDATES, plan.seed)
    return {
        "lives": lives,
        "null": _counts([ending for one in nulls for ending in one]),
        "lives_with_a_false_promotion": sum(map(_promotes, nulls)) / lives,
        "corrections_only": _counts(corrected),
        "gains": [_gain(gain, at, count, plan.seed) for gain, at in GAINS],
        "losses": [_loss(loss, at, count, plan.seed) for loss, at in LOSSES],
        "null_watches": _loss(0.0, 0.08, count, plan.seed),
    }


def _gain(gain: float, disagreement: float, count: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    setup = Setup(gain=gain, disagreement=disagreement, audits=AUDITS)
    endings = [candidate(setup, 1, random) for _ in range(count)]
    return {"gain": gain, "disagreement": disagreement, **_reached(endings, "promoted")}


def _loss(loss: float, disagreement: float, count: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    setup = Setup(gain=loss, disagreement=disagreement, audits=AUDITS)
    endings = [watch(setup, random) for _ in range(count)]
    return {"loss": loss, "disagreement": disagreement, **_reached(endings, "worse")}


def _reached(endings: Sequence[Ending], outcome: str) -> dict[str, Any]:
    audits = [ending.audits for ending in endings if ending.outcome == outcome]
    median, most = np.percentile(audits, (50, 90)).tolist() if audits else (None, None)
    share = len(audits) / len(endings)
    return {"runs": len(endings), "share": share, "median_audits": median, "p90_audits": most}


def _counts(endings: Sequence[Ending]) -> dict[str, int]:
    return dict(Counter(ending.outcome for ending in endings))


def _promotes(endings: Sequence[Ending]) -> bool:
    return any(ending.outcome == "promoted" for ending in endings)


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """Two tables: what must not happen, and what should, with the audits that it takes."""
    null, corrected = results["null"], results["corrections_only"]
    false = (
        ("false promotions", f"{null.get('promoted', 0)} of {sum(null.values())} candidates"),
        (
            "lives with any",
            f"{number(100 * results['lives_with_a_false_promotion'])} % of {results['lives']}",
        ),
        (
            "under corrections alone",
            f"{corrected.get('promoted', 0)} of {sum(corrected.values())} candidates",
        ),
        ("false rollbacks", f"{number(100 * results['null_watches']['share'])} %"),
    )
    reached = [(f"gains {number(100 * one['gain'])} points", one) for one in results["gains"]]
    reached += [(f"loses {number(100 * one['loss'])} points", one) for one in results["losses"]]
    return (
        Table("Candidates that are no better", ("what", "how often"), false),
        Table(
            "Candidates that are better, promotions that are worse",
            ("true difference", "disagreement", "decided", "audits, median", "audits, p90"),
            [
                (
                    name,
                    f"{number(100 * one['disagreement'])} %",
                    f"{number(100 * one['share'])} %",
                    *("-" if one[key] is None else number(one[key], 0) for key in _AUDITS),
                )
                for name, one in reached
            ],
        ),
    )


_AUDITS = ("median_audits", "p90_audits")
