"""What is sent when is decided beforehand: Poisson arrivals of a shape, the same for a seed."""

import numpy as np
import pytest

from honed_loadtest.arrivals import Stretch, poisson
from honed_loadtest.profile import OpenLoop, ShapeError, Trace, parsed


@pytest.mark.parametrize("rate", [0.5, 200.0])
def test_arrivals_come_at_the_rate_and_without_memory(rate):
    gaps = np.diff(poisson([Stretch(rate, 20_000 / rate)], seed=1))
    assert len(gaps) == pytest.approx(20_000, rel=0.03)
    # Of an exponential distribution the deviation is the mean; of a regular pulse it is 0.
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_counts_vary_as_those_of_a_poisson_process_do():
    times = poisson([Stretch(50, 2000)], seed=5)
    counts = np.histogram(times, bins=np.arange(2001))[0]
    assert counts.mean() == pytest.approx(50, rel=0.02)
    assert counts.var() == pytest.approx(50, rel=0.1)


def test_arrivals_grow_and_end_in_time():
    times = poisson([Stretch(100, 10)], seed=2)
    assert (np.diff(times) >= 0).all()
    assert times[0] > 0
    assert 9 < times[-1] < 10


def test_the_seed_decides():
    stretches = [Stretch(50, 2)]
    assert (poisson(stretches, seed=3) == poisson(stretches, seed=3)).all()
    assert poisson(stretches, seed=3)[0] != poisson(stretches, seed=4)[0]


def test_each_stretch_has_its_rate_and_one_of_rate_0_is_silent():
    times = poisson([Stretch(100, 10), Stretch(0, 10), Stretch(1000, 10)], seed=6)
    counts = np.histogram(times, bins=[0, 10, 20, 30])[0]
    assert counts == pytest.approx([1000, 0, 10_000], rel=0.1)
    assert counts[1] == 0


def test_the_warm_up_comes_before_what_counts_at_the_first_rate():
    profile = OpenLoop((Stretch(100, 20), Stretch(400, 20)))
    times = profile.arrivals(warm_s=10, seed=7)
    counts = np.histogram(times, bins=[-10, 0, 20, 40])[0]
    assert counts == pytest.approx([1000, 2000, 8000], rel=0.1)
    assert profile.seconds == 40


def test_steps_and_spikes_are_read():
    assert parsed("step:100x10,200x5.5", 60) == OpenLoop((Stretch(100, 10), Stretch(200, 5.5)))
    spike = OpenLoop((Stretch(100, 10), Stretch(400, 2), Stretch(100, 48)))
    assert parsed("spike:100,400x2@10", 60) == spike


@pytest.mark.parametrize("text", ["3.5\n3.0\n\n4.25\n", "id,time\na,3.5\nb,3.0\nc,4.25\n"])
def test_a_trace_is_replayed_from_its_first_arrival_faster_if_asked(tmp_path, text):
    file = tmp_path / "trace.csv"
    file.write_text(text)
    assert parsed(f"trace:{file}", 60) == Trace((0, 0.5, 1.25))
    fast = parsed(f"trace:{file}", 60, speed=5)
    assert fast.offsets == pytest.approx((0, 0.1, 0.25))
    times = fast.arrivals(warm_s=10, seed=0)
    assert times[times >= 0] == pytest.approx(fast.offsets)
    assert (times < 0).sum() == pytest.approx(10 * 3 / 0.251, rel=0.3)
    assert times[times < 0].min() >= -10


@pytest.mark.parametrize(
    "shape", ["", "ramp:1x2", "step:", "step:100", "step:-1x2", "spike:100,400x2", "spike:9,9x2@59"]
)  # fmt: skip
def test_another_shape_is_refused_with_what_is_allowed(shape):
    with pytest.raises(ShapeError, match=r"step:100x10,200x10 \| spike:100,400x2@10"):
        parsed(shape, 60)


@pytest.mark.parametrize("text", ["", "time\n", "1.0\nsoon\n"])
def test_a_trace_without_times_is_refused(tmp_path, text):
    (tmp_path / "t").write_text(text)
    with pytest.raises(ShapeError, match="is not a load shape"):
        parsed(f"trace:{tmp_path / 't'}", 60)


def test_a_missing_trace_is_named():
    with pytest.raises(ShapeError, match="nowhere cannot be read"):
        parsed("trace:nowhere", 60)
