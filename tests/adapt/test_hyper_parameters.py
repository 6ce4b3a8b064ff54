"""The search of hyper-parameters before a fine-tuning: its choice, its budget and its memory."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_training import QUICK, Killed, around, examples

from checkpoints import save_encoder
from honed_adapt.encoders.store import EncoderFiles, import_encoder, open_encoder
from honed_adapt.training.examples import Example
from honed_adapt.training.search import Budget, Found, search

SLOW = replace(QUICK, rate=1e-4)  # too low a rate, which a search betters
STEPS = 6  # of a trial: two epochs of 48 rows, 16 a step


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> EncoderFiles:
    home = tmp_path_factory.mktemp("home")
    return open_encoder(home, import_encoder(save_encoder(home / "source"), home))


class Course:
    """What is seen of a search from outside; it is killed at a step, counted over all trials."""

    def __init__(self, killed_at: int = 0) -> None:
        self.steps: list[tuple[int, int]] = []
        self.told: list[float] = []
        self._killed_at = killed_at

    def step(self, step: int, steps: int, _left_s: float) -> None:
        self.steps.append((step, steps))
        if len(self.steps) == self._killed_at:
            raise Killed

    def run(
        self, base: EncoderFiles, budget: Budget, work: Path | None = None,
        rows: Sequence[Example] = tuple(examples()),
    ) -> Found:  # fmt: skip
        doors = around(base, work, report=self.step, save_steps=2)
        return search(base, rows, SLOW, budget, doors, lambda _n, loss: self.told.append(loss))


def test_the_best_trial_is_what_trains(base):
    course = Course()
    found = course.run(base, Budget(4))
    assert [one["loss"] for one in found.tried] == course.told
    best = min(found.tried, key=lambda one: one["loss"])
    assert best is not found.tried[0], "there was something better to be found"
    numbers = {name: value for name, value in best.items() if name != "loss"}
    assert set(numbers) == {"rate", "scale", "dropout"}
    assert found.tuning == replace(SLOW, **numbers)  # all of its epochs, too


def test_the_start_is_tried_first_and_is_kept_if_nothing_is_better(base):
    found = Course().run(base, Budget(1))
    (first,) = found.tried
    assert (first["rate"], first["scale"], first["dropout"]) == (1e-4, 20.0, 0.05)
    assert found.tuning == SLOW


def test_a_search_costs_what_its_budget_says(base):
    course = Course()
    course.run(base, Budget(3))
    assert course.steps == [(step, STEPS) for step in range(1, STEPS + 1)] * 3


def test_no_trial_begins_after_the_minutes(base):
    assert len(Course().run(base, Budget(4, minutes=1e-9)).tried) == 1
    assert len(Course().run(base, Budget(2, minutes=60)).tried) == 2


def test_an_interrupted_search_goes_on_where_it_was(base, tmp_path):
    whole = Course().run(base, Budget(4))
    with pytest.raises(Killed):
        Course(2 * STEPS + 3).run(base, Budget(4), tmp_path)
    again = Course()
    resumed = again.run(base, Budget(4), tmp_path)
    assert resumed == whole
    assert again.steps[0] == (3, STEPS)  # two trials had ended, and two steps were kept
    assert len(again.steps) == 2 * STEPS - 2
    ended = Course()
    assert ended.run(base, Budget(4), tmp_path) == whole
    assert ended.steps == []
    assert ended.told == [one["loss"] for one in whole.tried]


def test_trials_of_other_labels_are_made_again(base, tmp_path):
    """One of the labels may have been deleted: nothing that it led to may choose anything."""
    before = Course().run(base, Budget(2), tmp_path)
    fewer = examples()[1:]
    course = Course()
    found = course.run(base, Budget(2), tmp_path, fewer)
    assert len(course.steps) == 2 * STEPS
    assert found == Course().run(base, Budget(2), rows=fewer)
    assert found.tried[0]["loss"] != before.tried[0]["loss"]


@pytest.mark.parametrize("damage", ["", "[]", '{"basis": 1}'])
def test_a_damaged_memory_is_none(base, tmp_path, damage):
    whole = Course().run(base, Budget(2), tmp_path)
    (memory,) = tmp_path.iterdir()
    assert len(json.loads(memory.read_text())["trials"]) == 2
    memory.write_text(damage)
    assert Course().run(base, Budget(2), tmp_path) == whole


def test_trials_that_have_ended_leave_no_checkpoints(base, tmp_path):
    with pytest.raises(Killed):
        Course(STEPS + 3).run(base, Budget(2), tmp_path)
    assert list(tmp_path.rglob("*.safetensors")), "one has not ended"
    Course().run(base, Budget(2), tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
