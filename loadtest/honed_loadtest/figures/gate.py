"""The gate against candidates of known worth: false promotions, power, time to rollback.

Nothing is measured but the decisions: answers are drawn at random, and the product's own code
(`honed_adapt.gate`, and the record that a server keeps) judges them after every label. A life is
that of one model: candidates that are no better come one after the other, and the server restarts
now and then in the middle of a trial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from honed_adapt.gate.simulation import Ending, Setup, candidate, watch
from honed_adapt.gate.trials import WATCH_AUDITS
from honed_loadtest.bench import Bench
from honed_loadtest.lives import (
    AUDITED,
    CORRECTED,
    CORRECTED_TEXTS,
    MISNAMED,
    RESTART_EVERY,
    Feedback,
    lives,
)
from honed_loadtest.report import Table, number


@dataclass(frozen=True, slots=True)
class Arm:
    """Lives of one kind.

    Attributes:
        name: What arrives, in words.
        feedback: The same for the simulation.
        texts: Texts that are asked during a trial.
        lives: How many with 1,000 labels in the plan.
        candidates: How many are offered in each.
    """

    name: str
    feedback: Feedback
    texts: int
    lives: int
    candidates: int


CANDIDATES = 200
ARMS = {
    "audited": Arm("audits of every text", AUDITED, 2000, 240, CANDIDATES),
    "corrections_only": Arm("corrections alone", CORRECTED, CORRECTED_TEXTS, 60, CANDIDATES),
    # Shows that the simulation would see it if corrections did vote.
    "misnamed": Arm("corrections sent as audits", MISNAMED, CORRECTED_TEXTS, 60, 10),
}
# (accuracy gained, share of texts that only one side answers rightly)
GAINS = ((0.02, 0.08), (0.05, 0.1))
LOSSES = ((0.0, 0.08), (0.05, 0.1), (0.1, 0.15), (0.2, 0.25))
AUDITS = 6000
SETTINGS = {
    "candidates_a_life": CANDIDATES,
    "a_restart_in_every": RESTART_EVERY,
    "texts_a_trial": {name: arm.texts for name, arm in ARMS.items()},
    "gains": GAINS,
    "losses": LOSSES,
    "audits_a_trial_with_gains": AUDITS,
    "audits_a_watch": WATCH_AUDITS,
    "aims": {"lives_with_a_false_promotion": 0.05},
}


def run(bench: Bench) -> dict[str, Any]:
    """Draws lives of null candidates, candidates that gain, and promotions that lose."""
    plan = bench.plan
    count = max(plan.labels // 5, 2)
    return {
        "lives": {name: _lives(arm, bench) for name, arm in ARMS.items()},
        "gains": [_gain(gain, at, count, plan.seed) for gain, at in GAINS],
        "losses": [_loss(loss, at, count, plan.seed) for loss, at in LOSSES],
    }


def _lives(arm: Arm, bench: Bench) -> dict[str, float]:
    count = max(arm.lives * bench.plan.labels // 1000, 1)
    setup = Setup(texts=arm.texts)
    return lives(bench.scratch, setup, arm.feedback, count, arm.candidates, bench.plan.seed)


def _gain(gain: float, disagreement: float, count: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    setup = Setup(gain=gain, disagreement=disagreement, texts=AUDITS)
    endings = [candidate(setup, 1, random) for _ in range(count)]
    return {"gain": gain, "disagreement": disagreement, **_reached(endings, "promoted")}


def _loss(loss: float, disagreement: float, count: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    setup = Setup(gain=loss, disagreement=disagreement)
    endings = [watch(setup, random) for _ in range(count)]
    return {"loss": loss, "disagreement": disagreement, **_reached(endings, "worse")}


def _reached(endings: Sequence[Ending], outcome: str) -> dict[str, Any]:
    audits = [ending.audits for ending in endings if ending.outcome == outcome]
    median, most = np.percentile(audits, (50, 90)).tolist() if audits else (None, None)
    share = len(audits) / len(endings)
    return {"runs": len(endings), "share": share, "median_audits": median, "p90_audits": most}


def tables(results: Mapping[str, Any]) -> Sequence[Table]:
    """Two tables: what must not happen, and what should, with the audits that it takes."""
    reached = [(f"gains {number(100 * one['gain'])} points", one) for one in results["gains"]]
    reached += [(f"loses {number(100 * one['loss'])} points", one) for one in results["losses"]]
    return (
        Table(
            "Lives with candidates that are no better (aim: a false promotion in at most 5 %)",
            (
                "labels", "lives", "candidates each", "restarts each", "lives with one",
                "share", "at most, 95 % sure", "false promotions in all",
            ),
            [_row(name, one) for name, one in results["lives"].items()],
        ),
        Table(
            "Candidates that are better, promotions that are worse (a watch ends at 500 audits)",
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
    )  # fmt: skip


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    share = found["lives_with_one"] / found["lives"]
    counts = ("lives", "candidates_each", "restarts_each", "lives_with_one")
    return (
        ARMS[name].name,
        *(number(found[key]) for key in counts),
        f"{number(100 * share)} %",
        f"{number(100 * found['at_most'])} %",
        number(found["promoted"]),
    )


_AUDITS = ("median_audits", "p90_audits")
