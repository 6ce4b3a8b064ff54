"""Which audits vote in a trial: one submitter among others has a part, one alone has all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from random import Random

import pytest

from honed_adapt.feedback.audits import auditors, submitters
from honed_adapt.feedback.log import FeedbackLog
from honed_adapt.feedback.values import Kind, NewFeedback
from honed_adapt.trust.influence import Cap, Recent
from honed_adapt.trust.votes import votes

TEAM = [f"ann-{n}" for n in range(20)]


Voted = Callable[..., Counter[str]]


def said(
    number: int, name: str, kind: Kind = Kind.AUDIT, model: str = "m", weight: float = 1.0
) -> NewFeedback:
    key, text = f"key {number}", f"text {number}"
    return NewFeedback(model, key, text, "a", kind, submitter=name, weight=weight)


@pytest.fixture
def voted(tmp_path: Path) -> Iterator[Voted]:
    with ExitStack() as logs:

        def trial(
            before: Sequence[str], audits: Sequence[str], cap: Cap | None = None
        ) -> Counter[str]:
            """The votes by submitter, where these audited before a trial and these during it."""
            cap, path = cap or Cap(), tmp_path / f"{Random().random()}.sqlite"
            log = logs.enter_context(closing(FeedbackLog(path, cap=cap)))
            log.submit([said(at, name) for at, name in enumerate([*before, *audits])]).result()
            counted = Counter[str]()
            for at, name in enumerate(audits, len(before) + 1):
                last = partial(auditors, model="m", position=at, weight=cap.least_rows)
                counted[name] += votes(name, counted, log.ask(last), cap)
            return counted

        yield trial


def test_who_comes_new_to_a_team_does_not_decide_its_trials(voted):
    """Seven wins at a watch are an e-value of 31.9, where 20 decides."""
    assert voted(TEAM * 10, ["mallory"] * 7) == {"mallory": 1}
    assert voted(["quality-team"] * 200, ["mallory"] * 7) == {"mallory": 1}
    flood = ["mallory"] * 2_000  # counts a hundredth, and drives nobody out
    assert voted(TEAM * 10 + flood, ["mallory"] * 7) == {"mallory": 1}


@pytest.mark.parametrize("weight", [0.001, 0.02, 0.3, 10.0])
def test_no_flood_of_light_or_heavy_audits_drives_others_out(tmp_path, weight):
    cap = Cap()
    with closing(FeedbackLog(tmp_path / "log.sqlite", cap=cap)) as log:
        log.submit([said(at, name) for at, name in enumerate(TEAM * 50)]).result()
        flood = [said(at, "mallory", weight=weight) for at in range(1_000, 13_000)]
        log.submit(flood).result()
        last = partial(auditors, model="m", position=13_001, weight=cap.least_rows)
        assert sum(votes("mallory", Counter(mallory=n), log.ask(last), cap) for n in range(7)) == 1


def test_who_audits_more_than_all_others_has_no_more_than_half_as_much_again_as_they(voted):
    draw = Random(0)
    audits = ["mallory" if draw.random() < 0.5 else draw.choice(TEAM) for _ in range(4_000)]
    counted, given = voted(TEAM * 10, audits), Counter(audits)
    assert 0.04 < counted["mallory"] / counted.total() < 0.12
    assert counted.total() - counted["mallory"] > 0.85 * (given.total() - given["mallory"])


@pytest.mark.parametrize("team", [1, 2, 3, 5, 20])
def test_hardly_a_vote_of_a_team_is_lost_when_all_audit_alike(voted, team):
    draw = Random(team)
    audits = [draw.choice(TEAM[:team]) for _ in range(1_000)]
    lost = 1_000 - voted(TEAM[:team] * (200 // team + 1), audits).total()
    assert lost == 0 if team < 5 else lost < 100


def test_a_team_may_take_turns_of_a_day_each(voted):
    days = [name for name in TEAM[:5] * 10 for _ in range(20)]
    assert voted(TEAM[:5] * 40, days).total() > 0.9 * len(days)


@pytest.mark.parametrize(
    ("before", "name", "cap"),
    [
        ([], "ann", Cap()),
        (TEAM * 9, "ann", Cap()),
        (["ann"] * 200, "ann", Cap()),
        (["ann", "bob"] * 100, "ann", Cap()),
        (TEAM * 10, "", Cap()),
        (TEAM * 10, "expert", Cap(trusted={"expert"})),
        (TEAM * 10, "mallory", Cap(share=1.0)),
    ],
    ids=["fresh", "few audits", "one", "two", "nameless", "trusted", "switched off"],
)
def test_where_nobody_else_is_there_to_judge_every_audit_votes(voted, before, name, cap):
    assert voted(before, [name] * 20, cap) == {name: 20}


def test_who_takes_over_from_the_only_auditor_is_heard_within_a_hundred_audits(voted):
    counted = voted(["ann"] * 200, ["bob"] * 150)
    assert counted["bob"] > 50
    assert voted(["ann"] * 66 + ["bob"] * 134, ["bob"] * 20) == {"bob": 20}


def test_who_audited_lately_is_told_by_the_log(tmp_path):
    with closing(FeedbackLog(tmp_path / "log.sqlite")) as log:
        names = ["old", "ann", "", "ann", "bob", "ann"]
        log.submit(
            [
                *(said(at, name) for at, name in enumerate(names)),
                said(7, "eve", Kind.CORRECTION),
                said(8, "zoe", model="other"),
            ]
        ).result()
        assert log.ask(lambda db: auditors(db, "m", 9, 4)) == Recent({"ann": 3.0, "bob": 1.0}, 4)
        assert log.ask(lambda db: auditors(db, "m", 2, 4)) == Recent({"old": 1.0}, 1)
        assert log.ask(lambda db: submitters(db, "m", [2, 3, 8])) == {2: "ann", 3: ""}
