"""Submits labels at a steady rate beside a measurement, and marks each on the timeline."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import cycle

from honed import Client
from honed_loadtest.arm import Beside
from honed_loadtest.datasets import Example
from honed_loadtest.marks import Marks
from honed_loadtest.repeated import repeated


def labelling(
    client: Client, models: Iterable[str], labels: Sequence[Example], per_s: float
) -> Beside:
    """What submits the labels in turn, dealt out among the models, for ever."""
    ahead = zip(cycle(models), cycle(labels))

    def beside(marks: Marks) -> AbstractContextManager[None]:
        def submit() -> None:
            model, (text, label) = next(ahead)
            ack = client.submit(model=model, text=text, label=label, submitter="bench")
            marks.add("label", model, position=ack.position)

        return repeated(submit, per_s)

    return beside
