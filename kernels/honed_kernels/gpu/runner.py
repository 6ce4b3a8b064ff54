"""Runs parts in order of their value, within a budget of seconds."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from honed_kernels.gpu.report import Outcome, Report


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to check or measure.

    Attributes:
        name: unlike the others of its part.
        run: does it; whatever it raises is a failure, and the next case is run.
    """

    name: str
    run: Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class Part:
    """Cases that belong together.

    Attributes:
        name: what `--only` calls it.
        cases: its cases; they allocate when they run.
    """

    name: str
    cases: Iterable[Case]


@dataclass(frozen=True, slots=True)
class Budget:
    """The seconds of a run.

    Attributes:
        seconds: how many.
        clock: seconds since the run began.
    """

    seconds: float
    clock: Callable[[], float]

    def left(self) -> float:
        """Seconds that remain; none or less when they are spent."""
        return self.seconds - self.clock()


def run(parts: Sequence[Part], report: Report, budget: Budget, settle: Callable[[], None]) -> None:
    """Run every case that may still begin, and say of the others why they did not.

    Args:
        parts: the most valuable first.
        report: where results go, case by case.
        budget: a case that has begun is not cut off.
        settle: waits for the device, and raises if it is lost: then no case can follow.
    """
    lost = ""
    for part in parts:
        report.begin(part.name)
        if lost or budget.left() <= 0:
            report.end("skipped", lost or f"the {budget.seconds:g} seconds were spent")
            continue
        for case in part.cases:
            if budget.left() <= 0:
                report.end("cut off", f"the {budget.seconds:g} seconds were spent")
                break
            report.add(case.name, _outcome(case), budget.clock())
            if lost := _lost(settle):
                report.problem(lost)
                report.end("cut off", lost)
                break
        else:
            report.end("done")


def _outcome(case: Case) -> Outcome:
    try:
        return case.run()
    except Exception as error:  # noqa: BLE001 - the other cases are run all the same
        where = traceback.format_exc(limit=-4)
        return Outcome({"traceback": where}, "failed", f"{type(error).__name__}: {error}")


def _lost(settle: Callable[[], None]) -> str:
    try:
        settle()
    except Exception as error:  # noqa: BLE001 - whatever the driver says belongs in the report
        return f"the device is lost: {error}"
    return ""
