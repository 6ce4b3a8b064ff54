"""Which versions hold what was deleted, which one is fallen back to, and who may send how much."""

import pytest

from honed_adapt.feedback.log import DeletionRow
from honed_server.edge.errors import Overloaded
from honed_server.feedback.holding import fallback, holding
from honed_server.feedback.retention import Rates
from honed_server.models.registry import VersionRow, VersionState

DAY_S = 86_400.0
DELETION = DeletionRow(
    position=50, model="m", time=1000.0, requested_by="", submitter="ada", first_position=20,
    served_revision=50, difference=None,
)  # fmt: skip


def version(number: int, position: int, encoder: str = "base", **facts) -> VersionRow:
    values = {
        "model": "m", "version": number, "state": VersionState.RETIRED, "parent": number - 1,
        "encoder_digest": encoder, "log_position": position, "num_labels": 3, "created": 0.0,
        "source": "checkpoint", "manifest_sha256": "", "decision_id": "", "tainted_position": 0,
    }  # fmt: skip
    return VersionRow(**{**values, **facts})


def held(*rows: VersionRow, seen_to: dict[str, int] | None = None, active: int = 0):
    found = holding(DELETION, rows, seen_to or {}, {"m": active}, 30 * DAY_S)
    return {one.version.version: (one.in_head, one.in_encoder, one.retire_time) for one in found}


def test_a_head_holds_what_lies_between_its_first_label_and_the_deletion():
    rows = [version(1, 0), version(2, 19), version(3, 20), version(4, 49), version(5, 50)]
    assert held(*rows) == {3: (True, False, 1000.0), 4: (True, False, 1000.0)}


def test_an_encoder_that_was_trained_on_it_has_until_the_deadline():
    rows = [version(4, 49, "tuned"), version(5, 60, "tuned"), version(6, 60, "clean")]
    due = 1000.0 + 30 * DAY_S
    assert held(*rows, seen_to={"tuned": 30, "clean": 55}) == {
        4: (True, True, 1000.0),
        5: (False, True, due),
    }
    assert held(*rows, seen_to={"tuned": 19, "clean": 55}).keys() == {4}


def test_what_serves_has_until_the_deadline_and_what_is_removed_holds_nothing():
    rows = [version(3, 30, removed=True), version(4, 49)]
    assert held(*rows, active=4) == {4: (True, False, 1000.0 + 30 * DAY_S)}


def test_of_another_model_only_the_encoder_can_hold_it():
    rows = [
        version(1, 30, "base", model="other"),
        version(2, 30, "tuned", model="other"),
        version(3, 60, "tuned", model="other"),
    ]
    due = 1000.0 + 30 * DAY_S
    seen_to, active = {"tuned": 30}, {"m": 2, "other": 3}
    found = holding(DELETION, rows, seen_to, active, 30 * DAY_S)
    assert [(one.version.version, one.active, one.retire_time) for one in found] == [
        (2, False, due),
        (3, True, due),
    ]
    assert not any(one.in_head for one in found)
    assert held(*rows, seen_to={"tuned": 50}) == {}  # trained without it


def test_the_newest_clean_version_with_labels_takes_over():
    rows = [
        version(1, 0, num_labels=0),
        version(2, 10),
        version(3, 15),
        version(4, 60, state=VersionState.CANDIDATE),
        version(5, 60, state=VersionState.DAMAGED),
        version(6, 40, tainted_position=50),
        version(7, 60, removed=True),
        version(8, 60),
    ]
    assert fallback(rows, held={8}).version == 3
    assert fallback(rows[:1], held=set()).version == 1
    assert fallback(rows[3:], held={8}) is None


def test_a_submitter_gets_labels_back_with_time_and_nobody_elses():
    now = 0.0
    rates = Rates(60, clock=lambda: now)
    rates.take({"ann": 60})
    with pytest.raises(Overloaded) as caught:
        rates.take({"ann": 5, "bob": 5})
    assert caught.value.retry_after_s == pytest.approx(5.0)
    rates.take({"bob": 60})  # the refused call took nothing
    now = 5.0
    rates.take({"ann": 5})
    now = 1000.0
    rates.take({"ann": 60, "": 60})


def test_a_call_above_the_whole_allowance_passes_once():
    now = 0.0
    rates = Rates(60, clock=lambda: now)
    rates.take({"ann": 256})
    with pytest.raises(Overloaded) as caught:
        rates.take({"ann": 1})
    assert caught.value.retry_after_s == pytest.approx(197.0)
