"""A head is served only if it is whole: every rule of `Head.validate` has a head that breaks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from honed_adapt.head import Head, HeadError

HIDDEN = 3
GOOD = Head(("a", "b"), np.ones((2, HIDDEN), np.float32), np.zeros(2, np.float32), 2.0)


def test_a_whole_head_passes() -> None:
    GOOD.validate(HIDDEN)
    assert GOOD.num_labels == 2


def test_a_head_that_has_learned_nothing_is_legal() -> None:
    head = Head.empty(HIDDEN)
    head.validate(HIDDEN)
    assert head.labels == ()
    assert head.weight.shape == (0, HIDDEN)


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
    ],
)
def test_a_broken_head_is_refused_by_name(reason: str, head: Head) -> None:
    with pytest.raises(HeadError) as caught:
        head.validate(HIDDEN)
    assert caught.value.reason == reason
