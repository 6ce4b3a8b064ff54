"""A head is served only if it is whole: every rule of `Head.validate` has a head that breaks it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from honed_adapt.head import Features, Head, HeadError, OpenSet

HIDDEN, COUNT = 3, 4
GOOD = Head(("a", "b"), np.ones((2, HIDDEN), np.float32), np.zeros(2, np.float32), 2.0)
WIDE = replace(
    GOOD, weight=np.ones((2, HIDDEN + COUNT), np.float32), features=Features(COUNT, 0.5, 7)
)

OPEN = OpenSet(
    0.5, 2.0, np.ones((2, HIDDEN), np.float32), np.zeros(2, np.float32), np.ones(2, np.float32)
)


def test_a_whole_head_passes() -> None:
    GOOD.validate(HIDDEN)
    assert GOOD.num_labels == 2


def test_a_head_that_has_learned_nothing_is_legal() -> None:
    head = Head.empty(HIDDEN)
    head.validate(HIDDEN)
    assert head.labels == ()
    assert head.weight.shape == (0, HIDDEN)


def test_a_head_with_features_reads_vectors_of_the_same_length() -> None:
    head = replace(WIDE, threshold=-2.5, conformal=0.1)
    head.validate(HIDDEN)
    assert head.hidden == GOOD.hidden == HIDDEN


def test_settings_put_a_head_together_again() -> None:
    head = replace(WIDE, threshold=-2.5, conformal=0.1)
    again = Head.of(head.labels, head.arrays(), json.loads(json.dumps(head.settings())))
    assert (again.features, again.settings()) == (WIDE.features, head.settings())
    assert Head.of(GOOD.labels, GOOD.arrays(), {}).features is None


def test_an_open_set_comes_back_with_its_arrays() -> None:
    head = replace(WIDE, open_set=OPEN)
    head.validate(HIDDEN)
    again = Head.of(head.labels, head.arrays(), json.loads(json.dumps(head.settings())))
    assert again.arrays().keys() == {"weight", "bias", "slope", "offset", "gain"}
    assert again.settings()["open_set"] == {"energy": 0.5, "square": 2.0}
    with pytest.raises(KeyError):
        Head.of(head.labels, GOOD.arrays(), head.settings())
    with pytest.raises(ValueError, match="no array"):
        Head.of(head.labels, head.arrays(), GOOD.settings())


@pytest.mark.parametrize(
    ("reason", "head"),
    [
        ("shape", replace(GOOD, weight=np.ones((2, HIDDEN + 1), np.float32))),
        ("shape", replace(GOOD, weight=np.ones((3, HIDDEN), np.float32))),
        ("shape", replace(GOOD, bias=np.zeros(3, np.float32))),
        ("shape", replace(GOOD, labels=("a",))),
        ("dtype", replace(GOOD, weight=np.ones((2, HIDDEN), np.float64))),
        ("dtype", replace(GOOD, bias=np.zeros(2, np.int64))),
        ("not_finite", replace(GOOD, weight=np.full((2, HIDDEN), np.nan, np.float32))),
        ("not_finite", replace(GOOD, bias=np.array([0, np.inf], np.float32))),
        ("duplicate_label", replace(GOOD, labels=("a", "a"))),
        ("empty_label", replace(GOOD, labels=("a", ""))),
        ("temperature", replace(GOOD, temperature=0.0)),
        ("temperature", replace(GOOD, temperature=-1.0)),
        ("temperature", replace(GOOD, temperature=float("nan"))),
        ("temperature", replace(GOOD, temperature=float("inf"))),
        ("shape", replace(GOOD, features=Features(COUNT, 0.5, 7))),
        ("shape", replace(WIDE, features=Features(COUNT + 1, 0.5, 7))),
        ("shape", replace(WIDE, features=None)),
        ("features", replace(WIDE, features=Features(0, 0.5, 7))),
        ("features", replace(WIDE, features=Features(4_097, 0.5, 7))),
        ("features", replace(WIDE, features=Features(COUNT, 0.0, 7))),
        ("features", replace(WIDE, features=Features(COUNT, float("nan"), 7))),
        ("features", replace(WIDE, features=Features(COUNT, 0.5, -1))),
        ("threshold", replace(GOOD, threshold=float("inf"))),
        ("shape", replace(WIDE, open_set=replace(OPEN, slope=WIDE.weight))),
        ("shape", replace(GOOD, open_set=replace(OPEN, gain=OPEN.gain[:1]))),
        ("dtype", replace(GOOD, open_set=replace(OPEN, offset=np.zeros(2)))),
        ("not_finite", replace(GOOD, open_set=replace(OPEN, slope=OPEN.slope * np.inf))),
        ("open_set", replace(GOOD, open_set=replace(OPEN, energy=float("nan")))),
        ("open_set", replace(GOOD, open_set=replace(OPEN, square=-1.0))),
        ("conformal", replace(GOOD, conformal=1.5)),
        ("conformal", replace(GOOD, conformal=float("nan"))),
    ],
)
def test_a_broken_head_is_refused_by_name(reason: str, head: Head) -> None:
    with pytest.raises(HeadError) as caught:
        head.validate(HIDDEN)
    assert caught.value.reason == reason
