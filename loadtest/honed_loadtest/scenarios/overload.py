"""More load than the server can bear: accepted answers must stay in time, refusals be quick.

The deadline is short, so that waiting for ever is no way out.
"""

from collections.abc import Sequence
from dataclasses import replace

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.profile import OpenLoop
from honed_loadtest.stage import Stage

DEADLINE_S = 1.0


def _arms(stage: Stage) -> Sequence[Arm]:
    options = stage.options
    timeout_s = options.timeout_s or DEADLINE_S

    def arm(name: str, per_s: float) -> Arm:
        job = stage.job(OpenLoop.steady(per_s, options.seconds))
        return Arm(name, stage, replace(job, timeout_s=timeout_s))

    return [
        arm("bearable load", stage.rate_per_s),
        arm(f"{options.overload_factor:g} x the peak", options.overload_factor * stage.peak_per_s),
    ]


SCENARIO = Scenario("open loop over the peak: what is accepted, what refused", _arms)
