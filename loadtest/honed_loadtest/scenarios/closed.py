"""Closed loops: how many answers a second so many callers get who wait for each."""

from collections.abc import Sequence

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.profile import ClosedLoop
from honed_loadtest.stage import Stage


def _arms(stage: Stage) -> Sequence[Arm]:
    options = stage.options
    return [
        Arm(f"concurrency {callers}", stage, stage.job(ClosedLoop(callers, options.seconds)))
        for callers in options.concurrency
    ]


SCENARIO = Scenario("closed loop: throughput at a concurrency", _arms, rounds=3)
