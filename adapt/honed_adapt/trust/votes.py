"""Which audits vote in a trial: no submitter may decide alone what many are there to judge. Pure.

It stands where an audit is about to vote (`server/honed_server/trials/ballots.py`). `influence.py`
bounds what a submitter weighs among a thousand labels; seven votes decide a trial. Whether an audit
votes is settled before its text is answered, by names alone and for good. So it depends on nothing
that any vote says, and the evidence stays valid.
"""

from __future__ import annotations

from collections.abc import Mapping

from honed_adapt.trust.influence import ROOM, Cap, Recent, spared, typical


def votes(submitter: str, voted: Mapping[str, int], auditors: Recent, cap: Cap) -> bool:
    """Whether an arriving audit votes.

    A submitter has the cap's share of a trial's votes, or half as much again as is typical of those
    who audit, or as is usual for themselves if that is less: whoever comes new to a trial that
    others are there for does not decide it, and whoever audits alone is not held back. It is as if
    1 / share votes had been cast already, or nobody could begin.

    Args:
        submitter: Who says so; empty if nobody is named.
        voted: Votes in this trial so far, by submitter, empty for nobody named.
        auditors: Who gave the last audits of the model that have a name, as many as weigh
            `cap.least_rows`; each weighs what the cap on learning lets it count.
        cap: How much one submitter may weigh.
    """
    if spared(submitter, auditors, cap):
        return True
    usual = min(auditors.weights.get(submitter, 0.0), typical(auditors.weights.values()))
    part = max(cap.share, ROOM * usual / sum(auditors.weights.values()))
    return voted.get(submitter, 0) + 1 <= part * sum(voted.values()) + part / cap.share
