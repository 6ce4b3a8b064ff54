"""RPC Feedback.Suspects: labels that the others do not bear out, and what submitters are worth.

The adapt process, which holds the labels' vectors, ranks them in closed form; the log says what
they are.
"""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial

from honed_adapt.feedback.log import Record
from honed_adapt.feedback.questions import Treatment, treatments
from honed_adapt.process.questions import Suspect, Suspected
from honed_adapt.trust.standing import Standing
from honed_proto.v1 import feedback_pb2 as pb
from honed_server.edge.errors import InvalidRequest
from honed_server.edge.rpc import Call
from honed_server.feedback.messages import record_message
from honed_server.insight.questions import Questions
from honed_server.models.catalogue import Catalogue

_SIZE, _MOST = 20, 1_000


class Suspicions:
    """Answers Feedback.Suspects. Event loop only.

    Args:
        catalogue: The models.
        questions: Asks the adapt process.
    """

    def __init__(self, catalogue: Catalogue, questions: Questions) -> None:
        self._catalogue = catalogue
        self._questions = questions

    async def suspects(self, request: pb.SuspectsRequest, call: Call) -> pb.SuspectsResponse:
        """Ranks labels and reports on submitters; see feedback.proto."""
        if request.size > _MOST:
            raise InvalidRequest(
                f"size is {request.size}; ask for at most {_MOST}", reason="BAD_SIZE", field="size"
            )
        entry = self._catalogue.entry(request.model)
        name = entry.row.name
        question = partial(Suspect, model=name, count=request.size or _SIZE)
        found = await self._questions.ask(question, call.patience_s())
        assert isinstance(found, Suspected), "an answer is of the question's kind"
        log, positions = self._catalogue.log, [doubt.position for doubt in found.doubts]
        records = {one.position: one for one in await asyncio.to_thread(log.at, name, positions)}
        treated = await asyncio.to_thread(log.ask, lambda db: treatments(db, name))
        return pb.SuspectsResponse(
            suspects=list(_suspects(found, records)),
            submitters=_reports(found.standings, treated, entry.distrusted),
        )


def _suspects(found: Suspected, records: dict[int, Record]) -> Sequence[pb.Suspect]:
    """The doubtful labels but those that were deleted in this moment."""
    return [
        pb.Suspect(
            record=record_message(records[doubt.position]),
            probability=doubt.probability,
            suggested_label=doubt.suggested,
            suggested_probability=doubt.suggested_probability,
        )
        for doubt in found.doubts
        if doubt.position in records and not records[doubt.position].deleted_position
    ]


def _reports(
    standings: Sequence[Standing], treated: dict[str, Treatment], distrusted: Collection[str]
) -> list[pb.SubmitterReport]:
    """By weight; who has no label in effect, because all are in quarantine, comes last.

    Labels of a distrusted submitter are in quarantine, whatever others may say of them by now.
    """
    nothing = Treatment(0, 0.0)
    reports = [
        pb.SubmitterReport(
            submitter=one.submitter,
            labels=one.labels,
            weight_share=one.weight_share,
            agreement=one.agreement,
            agreement_low=one.low,
            agreement_high=one.high,
            suspicious=one.suspicious or one.submitter in distrusted,
            quarantined=treated.get(one.submitter, nothing).quarantined,
            capped_share=treated.get(one.submitter, nothing).capped_share,
        )
        for one in standings
    ]
    known = {one.submitter for one in standings}
    reports += [
        pb.SubmitterReport(
            submitter=name,
            suspicious=name in distrusted,
            quarantined=one.quarantined,
            capped_share=one.capped_share,
        )
        for name, one in sorted(treated.items())
        if name not in known
    ]
    return reports
