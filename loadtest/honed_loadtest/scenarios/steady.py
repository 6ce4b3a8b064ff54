"""An open loop at one rate, or in the shape that was asked for."""

from collections.abc import Sequence

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.stage import Stage


def _arms(stage: Stage) -> Sequence[Arm]:
    return [Arm("steady", stage, stage.job(stage.profile()))]


SCENARIO = Scenario("open loop: latency at an offered rate", _arms)
