import numpy as np
import pytest

from honed_adapt.insight.drift import Errors, Shift, Windows


def alarms(errors: Errors, wrong: np.ndarray) -> list[int]:
    return [at for at, one in enumerate(wrong) if errors.observe(bool(one))]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_steady_errors_raise_no_alarm(share: float) -> None:
    for seed in range(5):
        wrong = np.random.default_rng(seed).random(3_000) < share
        assert alarms(Errors(), wrong) == []


def test_a_rise_of_errors_is_noticed_soon_and_once() -> None:
    delays = []
    for seed in range(5):
        draw = np.random.default_rng(seed)
        errors = Errors()
        assert alarms(errors, draw.random(1_000) < 0.1) == []
        after = alarms(errors, draw.random(1_000) < 0.4)
        delays.append(after[0])
        assert errors.error == pytest.approx(0.4, abs=0.08)
        assert len(after) <= 2
    assert max(delays) < 120


def test_learning_is_no_alarm_and_shortens_the_window() -> None:
    draw = np.random.default_rng(1)
    errors = Errors()
    assert alarms(errors, draw.random(1_000) < 0.5) == []
    assert alarms(errors, draw.random(1_000) < 0.1) == []
    assert errors.error == pytest.approx(0.1, abs=0.04)
    assert errors.window < 1_200


def test_the_window_is_bounded() -> None:
    errors = Errors(longest=100)
    alarms(errors, np.zeros(300, bool))
    assert (errors.window, errors.error) == (100, 0.0)


def test_an_empty_window_has_no_errors() -> None:
    assert (Errors().window, Errors().error) == (0, 0.0)


def texts(draw: np.random.Generator, count: int, towards: np.ndarray, hidden: int = 64):
    """Vectors of length 1 around a direction, as encoders make them."""
    rows = draw.standard_normal((count, hidden)) + towards
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def looks(shift: Shift, vectors: np.ndarray) -> list[int]:
    return [at + 1 for at, vector in enumerate(vectors) if shift.observe(vector)]


def test_false_alarms_of_the_text_test_are_as_rare_as_promised() -> None:
    towards = np.full(64, 0.3)
    found = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        shift = Shift(64, Windows(reference=500, present=200, false_alarms=0.02))
        found += len(looks(shift, texts(draw, 1_500, towards)))
    # 40 streams with some ten looks each: eight alarms are expected.
    assert 1 <= found <= 20


def test_other_texts_are_one_alarm_and_then_the_reference() -> None:
    draw = np.random.default_rng(3)
    shift = Shift(64)
    usual, other = np.full(64, 0.3), np.full(64, 0.3)
    other[:16] = 0.8
    assert looks(shift, texts(draw, 2_000, usual)) == []
    assert shift.settled
    assert 0 < shift.excess < 1
    assert looks(shift, texts(draw, 250, other)) == [250]
    assert shift.excess > 1
    assert not shift.settled
    assert looks(shift, texts(draw, 2_000, other)) == []
    assert looks(shift, texts(draw, 500, usual)) != []


def test_texts_that_are_all_alike_do_not_break_it() -> None:
    shift = Shift(64, Windows(reference=100, present=50))
    one = np.full((200, 64), 0.125, np.float32)
    assert looks(shift, one) == []
    assert looks(shift, -one[:50]) != []
