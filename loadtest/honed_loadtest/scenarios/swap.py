"""What swapping heads costs those who ask: the same arrivals without and with swaps.

Ready heads are offered over the server's local socket, so that only the swap is measured; the
server runs without its adapt process.
"""

from collections.abc import Sequence

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.publisher import Publisher
from honed_loadtest.repeated import repeated
from honed_loadtest.stage import Stage


def _arms(stage: Stage) -> Sequence[Arm]:
    assert stage.server is not None, "the scenario needs its own server"
    publisher = Publisher(stage.server, stage.models[0])
    stage.resources.callback(publisher.close)
    job, per_s = stage.job(stage.profile()), stage.options.swaps_per_s
    return [
        Arm("without swaps", stage, job),
        Arm("with swaps", stage, job, lambda _: repeated(publisher.swap, per_s)),
    ]


SCENARIO = Scenario(
    "open loop, without and with head swaps", _arms,
    rounds=3, flags=("--no-adapt",), compared=True, needs_own_server=True,
)  # fmt: skip
