"""Idle models' matrices are on disk, and come back as they were."""

from pathlib import Path

import numpy as np

from honed_adapt.instant.lane import Lane, Recipe, Row
from honed_adapt.instant.parking import Parking

HIDDEN = 6
VECTORS = np.random.default_rng(0).normal(size=(90, HIDDEN)).astype(np.float32)
MEGABYTES = 2 * 8 * 1_024**2  # of one model with 1,024 features


def row(at: int) -> Row:
    return Row(at, bytes([at]), "ab"[at % 2], "", 1.0, VECTORS[at])


def lane() -> Lane:
    made = Lane(HIDDEN)
    made.rebuild([row(at) for at in range(80)], Recipe(features=1_024))
    return made


def files(folder: Path) -> int:
    return len(list(folder.iterdir()))


def test_those_that_were_idle_for_longest_are_parked_and_learn_on(tmp_path: Path) -> None:
    parking, lanes, never = Parking(tmp_path, 2 * MEGABYTES), [lane() for _ in range(3)], lane()
    for one in lanes:
        parking.used(one)
    assert [one.ridge.nbytes > 0 for one in lanes if one.ridge] == [False, True, True]
    assert files(tmp_path) == 1
    for one in (lanes[0], never):
        one.apply([row(80)])
        one.remove([3])
    assert files(tmp_path) == 0
    got, expected = lanes[0].learned, never.learned
    assert got is not None
    assert expected is not None
    np.testing.assert_array_equal(got.weight, expected.weight)
    parking.used(lanes[0])
    assert [one.ridge.nbytes > 0 for one in lanes if one.ridge] == [True, False, True]


def test_no_file_outlives_its_model_or_its_process(tmp_path: Path) -> None:
    parking, first = Parking(tmp_path, 0), lane()
    parking.used(first)
    assert files(tmp_path) == 0  # what works is never parked
    parking.used(lane())
    assert files(tmp_path) == 1
    parking.gone(first)
    assert files(tmp_path) == 0
    parking.used(first)
    parking.used(lane())
    assert files(tmp_path) == 2
    Parking(tmp_path, 0)
    assert files(tmp_path) == 0
