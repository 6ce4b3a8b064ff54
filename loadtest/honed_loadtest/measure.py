"""`honed bench SCENARIO`: opens the stage, measures the arms in turn, and writes one result."""

import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from honed import Client
from honed_loadtest import comparison, result, runs
from honed_loadtest.arm import Arm, Scenario, in_turn
from honed_loadtest.errors import BenchError
from honed_loadtest.load import Outcome, run_load
from honed_loadtest.marks import Marks
from honed_loadtest.options import Options
from honed_loadtest.scenarios import scenario
from honed_loadtest.servers import Servers
from honed_loadtest.stage import open_stage

Say = Callable[[str], None]
_ROUNDS_COMPARED = 3
# Labels of the last moments are served after the load; to leave them out would flatter learning.
_LABELS_SETTLE_S = 10.0
_ADDRESS = re.compile(r"[^\s-]\S*:\d+")


@dataclass(frozen=True, slots=True)
class Measured:
    """What an arm showed in one round."""

    arm: Arm
    outcome: Outcome
    run: dict[str, Any]


def measure(
    name: str, options: Options, sides: tuple[str, str] | None, command: str, say: Say
) -> result.Document:
    """Measures a scenario, on one server or on two in turn.

    Args:
        name: Of the scenario.
        options: How much, and on what.
        sides: Two servers to compare: each the address of one that runs, or settings of one to
            start.
        command: What makes the result again.
        say: Is told what goes on.

    Raises:
        BenchError: The scenario cannot be measured like this.
    """
    chosen = scenario(name)
    asked = [options] if sides is None else [_sided(options, side) for side in sides]
    for each in asked:
        _check(name, chosen, each)
    origin = result.origin(command)
    rounds = options.rounds or (chosen.rounds if sides is None else _ROUNDS_COMPARED)
    with ExitStack() as resources:
        scratch = resources.enter_context(tempfile.TemporaryDirectory(prefix="honed-bench-"))
        servers = Servers(Path(scratch), options.rows or None, options.seed)
        stages = []
        for each in asked:
            say(f"preparing {each.target or 'a server'}")
            opened = open_stage(each, servers, *chosen.flags)
            stages.append(resources.enter_context(opened))
        for stage in stages:
            stage.rivals = [rival for rival in stages if rival is not stage]
        sets = [chosen.arms(stage) for stage in stages]
        found = [
            _measured(arm, number, rounds, say)
            for number, arm in in_turn([arm for arms in sets for arm in arms], rounds)
        ]
        witness = chosen.witness(stages[0]) if chosen.witness else None
        return result.document(
            name, origin, options, stages, [each.run for each in found],
            comparisons(_pairs(chosen, sets), found, options.seed), witness,
        )  # fmt: skip


def comparisons(
    pairs: Sequence[tuple[Arm, Arm]], found: Sequence[Measured], seed: int
) -> list[dict[str, Any]]:
    """Each pair of arms compared over all rounds."""
    compared = []
    for pair in pairs:
        first, second = (
            {each.run["round"]: each.outcome for each in found if each.arm is arm} for arm in pair
        )
        names = (_side(*pair), _side(*reversed(pair)))
        outcomes = [(first[number], second[number]) for number in sorted(first)]
        compared.append(comparison.compared(names, outcomes, seed))
    return compared


def _side(arm: Arm, other: Arm) -> str:
    """What tells an arm from the other one."""
    return arm.name if arm.stage is other.stage else f"{arm.name}, {arm.stage.name}"


def _sided(options: Options, side: str) -> Options:
    if _ADDRESS.fullmatch(side):
        return replace(options, target=side)
    return replace(options, target=None, server_flags=side)


def _check(name: str, chosen: Scenario, options: Options) -> None:
    if options.target is None:
        return
    if chosen.needs_own_server:
        raise BenchError(f"{name} needs a server that is started for it: leave --target out")
    if chosen.needs_labels and options.labels is None:
        raise BenchError(f"{name} teaches the model that it asks: say with what, by --labels")


def _pairs(chosen: Scenario, sets: Sequence[Sequence[Arm]]) -> list[tuple[Arm, Arm]]:
    if len(sets) == 2:
        return list(zip(*sets, strict=True))
    return [(sets[0][0], sets[0][1])] if chosen.compared else []


def _measured(arm: Arm, number: int, rounds: int, say: Say) -> Measured:
    say(f"round {number + 1} of {rounds}: {arm.name}, {arm.stage.name}")
    job = replace(arm.job, seed=arm.job.seed + number)
    with Client(arm.stage.target) as client, Marks(client) as marks:
        with arm.beside(marks):
            outcome = run_load(job)
        found = marks.settled(_LABELS_SETTLE_S)
    return Measured(arm, outcome, runs.described(arm, number, outcome, found))
