"""What learning costs those who ask: the same arrivals without and with labels coming in.

Each label is encoded, learned and served by the adapt process on the same machine.
"""

from collections.abc import Sequence

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.labelling import labelling
from honed_loadtest.stage import Stage


def _arms(stage: Stage) -> Sequence[Arm]:
    job, per_s = stage.job(stage.profile()), stage.options.labels_per_s
    beside = labelling(stage.client(), stage.models[:1], stage.labels, per_s)
    return [
        Arm("without labels", stage, job),
        Arm("with labels", stage, job, beside),
    ]


SCENARIO = Scenario(
    "open loop, without and with labels coming in", _arms,
    rounds=3, compared=True, needs_labels=True,
)  # fmt: skip
