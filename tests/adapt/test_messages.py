"""Heads on the socket between server and adapt process: what arrives is what was sent."""

from __future__ import annotations

import socket
from dataclasses import replace

import numpy as np
import pytest

from honed_adapt.head import Features, Head, OpenSet
from honed_adapt.process import wire
from honed_adapt.process.messages import Candidate, decode, encode

PLAIN = Head(("a", "b"), np.eye(2, 7, dtype=np.float32), np.ones(2, np.float32), 0.7)
HEADS = [
    PLAIN,
    replace(PLAIN, features=Features(4, 0.85, 20_161), threshold=-1.25, conformal=0.03),
    replace(PLAIN, open_set=OpenSet(0.03, 1.0, PLAIN.weight, PLAIN.bias, -PLAIN.bias)),
    Head.empty(3),
]


def sent(data: bytes) -> wire.Frame:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        frame = wire.read_frame(right)
    assert frame is not None
    return frame


@pytest.mark.parametrize("head", HEADS)
def test_a_head_arrives_as_it_was_sent(head: Head) -> None:
    got = decode(sent(encode(Candidate("support", "ab", 7, head, metrics={"f1": 0.5}))))
    assert isinstance(got, Candidate)
    assert (got.head.labels, got.head.settings()) == (head.labels, head.settings())
    assert got.head.features == head.features
    assert got.head.arrays().keys() == head.arrays().keys()
    for name, array in head.arrays().items():
        np.testing.assert_array_equal(got.head.arrays()[name], array)
    assert got.metrics == {"f1": 0.5}


@pytest.mark.parametrize("settings", [{"surprise": 1}, {"features": {"count": 4}}, {"features": 4}])
def test_settings_that_are_no_heads_are_refused(settings: dict[str, object]) -> None:
    frame = sent(encode(Candidate("support", "ab", 7, PLAIN)))
    frame.header["settings"] = settings
    with pytest.raises(wire.FrameError, match="not a message"):
        decode(frame)
