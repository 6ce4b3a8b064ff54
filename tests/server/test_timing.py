"""Calibration: that it measures what it says, never how fast this machine is."""

from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from honed_adapt.encoders.store import default_source, import_encoder, open_encoder
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.encoders.timing import least, measure, measure_beside, wide_gain


class Together:
    """An encoder that answers only while `workers` calls of the same shape run at once."""

    hidden, digest = 4, "together"

    def __init__(self, workers: int) -> None:
        self._barrier = Barrier(workers)
        self.shapes = set()

    def encode(self, rows, *, lone=False):
        self._barrier.wait(10)
        self.shapes.add((sum(row.size for row in rows), len(rows)))
        return np.zeros((len(rows), 4), np.float32)


class Broken:
    hidden, digest = 4, "broken"

    def encode(self, rows, *, lone=False):
        raise RuntimeError("no memory")


@pytest.mark.parametrize("workers", [1, 3])
def test_all_workers_run_at_the_same_moment(workers):
    encoder = Together(workers)
    cost = measure(encoder, workers)
    assert (512, 32) in encoder.shapes
    assert cost.seconds(64, 4) > 0


def test_a_failing_encoder_is_an_error_and_not_a_hang():
    with pytest.raises(RuntimeError, match="no memory"):
        measure(Broken(), 2)


class Ticking:
    """Takes as many seconds as the text has tokens, but for the first and, once, the third time."""

    def __init__(self):
        self.calls = []

    def __call__(self, encoder, head, rows):
        self.calls.append((encoder, head, rows[0].size))
        times = self.calls.count(self.calls[-1])
        return rows[0].size * {1: 0.5, 3: 2}.get(times, 1)


def test_answers_are_timed_in_turn_and_the_least_but_the_first_counts():
    seconds = Ticking()
    assert least([("encoder", "one", 7), ("encoder", "other", 21)], seconds) == (7, 21)
    assert seconds.calls[:4] == [("encoder", "one", 7), ("encoder", "other", 21)] * 2


def test_a_real_encoder_gets_a_useful_model(tmp_path: Path):
    files = open_encoder(tmp_path, import_encoder(default_source(), tmp_path))
    encoder = OnnxEncoder(files)
    cost = measure(encoder, 2)
    assert cost.split_tokens <= cost.budget_tokens <= 512
    assert cost.seconds(512, 32) > cost.seconds(16, 1)
    beside = measure_beside(encoder, encoder, cost)
    assert beside.budget_tokens == cost.budget_tokens
    assert beside.seconds(64, 4) > 0
    encoder.widen(2)
    assert wide_gain(encoder) > 0
