"""What a job needs of its data, which small files and coarse dates may lack. Pure."""

from __future__ import annotations

from honed_loadtest.learning.catalogue import ENTRIES, Plan
from honed_loadtest.learning.jobs import Job
from honed_loadtest.learning.results import Missing
from honed_loadtest.learning.streams import Material, stream


def unfit(job: Job, data: Material, plan: Plan) -> Missing | None:
    """Why a job would have nothing to measure; None if it has.

    Args:
        job: Rounds, or a contestant on a stream.
        data: Of the job.
        plan: How much.
    """
    if job.kind == "rounds":
        why = _no_round(data, job.form)
        return (job.stream, "", why) if why else None
    if why := _one_label([said.truth for said in data.train], "learn"):
        return job.stream, "", why
    made = stream(data, job.form, job.seed, plan.first)
    why = _one_label([said.label for said in made.said], "learn")
    if job.form == "out-of-scope" and not (why or (made.test and made.outside)):
        why = "there is no text to ask about of the labels left out, or of the others"
    if why:
        return job.stream, "", why
    least = next(one.least for one in ENTRIES if one.name == job.contestant)
    if len(made.said) < least:
        why = f"it answers once it has {least} labels, and there are {len(made.said)}"
        return job.stream, job.contestant, why
    return None


def _no_round(data: Material, period: str) -> str | None:
    if not period:
        if data.dated:
            return "all rows have one date: none are before a period"
        return _one_label([said.label for said in data.train], "train on")
    begin = period.partition(" to ")[0]
    return _one_label([said.label for said in data.train if said.date < begin], "train on")


def _one_label(labels: list[str], what: str) -> str | None:
    count = len(set(labels))
    return None if count > 1 else f"2 labels or more are needed to {what}, and there is {count}"
