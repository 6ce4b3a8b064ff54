"""What was learned counts beside a user's own head only as audited rows have shown, and exactly."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from honed_adapt.head import Head
from honed_adapt.instant.evidence import ENOUGH
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.scoring import best_labels

HIDDEN = 12
CLASSES = 6
LABELS = tuple(f"class {at}" for at in range(CLASSES))
CENTRES = np.random.default_rng(7).normal(size=(CLASSES, HIDDEN)).astype(np.float32)


class World:
    """Texts of six classes, as rows in log order."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.position = 0

    def vectors(self, targets: NDArray[np.int64]) -> NDArray[np.float32]:
        noise = self.random.normal(size=(len(targets), HIDDEN))
        return (CENTRES[targets] + 0.9 * noise).astype(np.float32)

    def rows(
        self, targets: NDArray[np.int64], labels: Sequence[str] = (), votes: bool = True
    ) -> list[Row]:
        found = []
        for target, vector in zip(targets, self.vectors(targets), strict=True):
            self.position += 1
            label = labels[len(found)] if labels else LABELS[target]
            found.append(Row(self.position, key(self.position), label, "", 1.0, vector, votes))
        return found

    def targets(self, size: int, classes: int = CLASSES) -> NDArray[np.int64]:
        return self.random.integers(0, classes, size)


def key(text: int) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


def own_head(centres: Sequence[int] = range(CLASSES), names: Sequence[str] = LABELS) -> Head:
    """The best possible head of some classes, given names of the reader's choice."""
    weight = CENTRES[list(centres)] / 0.81
    bias = -0.5 * (weight * CENTRES[list(centres)]).sum(axis=1)
    return Head(tuple(names), weight, bias)


SWAPPED = own_head(names=[LABELS[at] for at in (1, 0, 3, 2, 4, 5)])


def taught(base: Head, rows: Sequence[Row], batch: int = 16) -> Lane:
    lane = Lane(HIDDEN, base=base)
    for at in range(0, len(rows), batch):
        lane.apply(rows[at : at + batch])
    return lane


def accuracy(head: Head, world: World, size: int = 1_000) -> float:
    targets = world.targets(size)
    best = best_labels(head, world.vectors(targets))
    return float(np.mean([at == LABELS[t] for at, t in zip(best, targets, strict=True)]))


def same(lane: Lane, other: Lane) -> None:
    """Equal within 1e-9 relative; heads to the last digit of float32."""
    one, two = lane.weighing, other.weighing
    assert (one.weight, one.temperature) == (two.weight, two.temperature)
    assert one.evidence == pytest.approx(two.evidence, rel=1e-9, abs=1e-9)
    assert lane.head.labels == other.head.labels
    assert lane.head.temperature == other.head.temperature
    pairs = [(lane.head, other.head, 1e-6), (lane.solution, other.solution, 1e-9)]
    for got, expected, relative in pairs:
        if got is None or expected is None:
            assert got is expected
            continue
        for name in ("weight", "bias"):
            a, b = getattr(got, name), getattr(expected, name)
            np.testing.assert_allclose(a, b, rtol=0, atol=relative * max(np.abs(b).max(), 1))


def test_without_rows_the_own_head_serves_as_it_is() -> None:
    base = own_head()
    lane = Lane(HIDDEN, base=base)
    assert lane.head is base
    assert (lane.weighing.weight, lane.weighing.evidence) == (0.0, 0.0)
    world = World()
    anchors = world.targets(50)
    lane.set_anchors(world.vectors(anchors), [LABELS[at] for at in anchors])
    assert lane.anchor_correct > 35


def test_without_an_own_head_all_counts() -> None:
    lane = Lane(HIDDEN)
    world = World()
    lane.apply(world.rows(world.targets(30)))
    assert (lane.weighing.weight, lane.weighing.evidence) == (1.0, 0.0)


def test_corrections_alone_never_count() -> None:
    """They exist only where the own head was wrong, so of course it looks bad on them."""
    world = World()
    lane = taught(SWAPPED, world.rows(world.targets(300), votes=False))
    assert lane.head is SWAPPED
    assert lane.weighing.evidence == 0
    voting = taught(SWAPPED, World().rows(World().targets(300)))
    assert voting.weighing.weight > 0


def test_what_corrections_taught_counts_once_audits_show_it() -> None:
    """All rows train: 60 votes after 200 corrections show more than 60 votes alone."""
    world = World()
    corrections, audits = (
        world.rows(world.targets(200), votes=False),
        world.rows(world.targets(60)),
    )
    evidence = taught(SWAPPED, [*corrections, *audits]).weighing.evidence
    assert evidence > taught(SWAPPED, audits).weighing.evidence > 0


@pytest.mark.parametrize("seed", range(4))
def test_random_labels_never_count(seed: int) -> None:
    world = World(seed)
    labels = [LABELS[at] for at in world.targets(200)]
    rows = world.rows(world.targets(200), labels)
    lane = Lane(HIDDEN, base=own_head())
    for at in range(0, len(rows), 8):
        lane.apply(rows[at : at + 8])
        assert lane.weighing.weight == 0


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Labels drawn from what the own head itself says: looked at after each vote, 20 times."""
    base, alarms = own_head(), 0
    for seed in range(20):
        world = World(seed)
        vectors = world.vectors(world.targets(40))
        noise = world.random.gumbel(size=(40, CLASSES))
        drawn = (vectors @ base.weight.T + base.bias + noise).argmax(axis=1)
        lane = Lane(HIDDEN, base=base)
        highest = 0.0
        for at, (vector, label) in enumerate(zip(vectors, drawn, strict=True), 1):
            lane.apply([Row(at, key(at), LABELS[label], "", 1.0, vector, True)])
            highest = max(highest, lane.weighing.evidence)
        alarms += highest >= ENOUGH
    assert alarms <= 3


def test_a_new_class_is_answered_after_a_few_audits() -> None:
    world, base = World(), own_head(range(4), LABELS[:4])
    lane = taught(base, world.rows(world.targets(60)))
    assert lane.weighing.weight > 0
    assert lane.weighing.evidence >= ENOUGH
    assert lane.head.labels[:4] == base.labels
    assert set(lane.head.labels) == set(LABELS)
    assert accuracy(lane.head, World(1)) > accuracy(base, World(1)) + 0.1


def test_systematic_errors_are_mended() -> None:
    world = World()
    lane = taught(SWAPPED, world.rows(world.targets(200)))
    assert lane.weighing.weight > 0
    assert lane.head.labels == SWAPPED.labels
    assert accuracy(lane.head, World(1)) > accuracy(SWAPPED, World(1)) + 0.3


def test_nothing_is_lost_beside_a_head_that_needs_no_help() -> None:
    world, base = World(), own_head()
    lane, best = Lane(HIDDEN, base=base), accuracy(base, World(1))
    for _ in range(20):
        lane.apply(world.rows(world.targets(15)))
        assert accuracy(lane.head, World(1)) >= best - 0.01


def test_forgetting_everything_leaves_the_own_head() -> None:
    world = World()
    rows = world.rows(world.targets(100))
    lane = taught(SWAPPED, rows)
    assert lane.head is not SWAPPED
    lane.remove([row.position for row in rows])
    assert lane.head is SWAPPED
    assert lane.weighing.evidence == 0


def test_an_audit_of_a_text_that_was_learned_is_scored_as_if_it_had_not_been() -> None:
    """As evidence it is what it would be if the text had come then for the first time."""
    world = World()
    rows = world.rows(world.targets(80))
    again = [replace(row, position=row.position + 100) for row in rows[:40]]
    lane = taught(SWAPPED, [*rows, *again])
    same(lane, taught(SWAPPED, [*rows[40:], *again]))
    assert lane.weighing.evidence > 0


def test_no_label_votes_more_than_once() -> None:
    """Row 21 lies in the block that rows 19 to 22 are scored in, so its weight teaches none."""
    rows = World().rows(World().targets(21))
    heavy = Row(21, rows[20].text_hash, rows[20].label, "", 50.0, rows[20].vector, True)
    expected = taught(SWAPPED, rows).weighing.evidence
    assert taught(SWAPPED, [*rows[:20], heavy]).weighing.evidence == pytest.approx(expected)


STEP = st.one_of(
    st.lists(
        st.tuples(
            st.integers(1, 160),
            st.sampled_from([*LABELS, "new"]),
            st.sampled_from([0.5, 1.0, 3.0]),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(2, 40),
)


@settings(deadline=None, max_examples=12)
@given(st.lists(STEP, min_size=1, max_size=6))
def test_any_history_equals_a_fresh_build_from_what_is_left(
    steps: list[list[tuple[int, str, float, bool]] | int],
) -> None:
    """120 rows count; then texts are labelled anew, new ones come, every n-th row is deleted."""
    world = World()
    rows = world.rows(world.targets(160))
    vectors = {at: row.vector for at, row in enumerate(rows, 1)}
    present = {row.position: row for row in rows[:120]}
    lane = taught(SWAPPED, rows[:120])
    assert lane.weighing.weight > 0
    position = 1_000
    for step in steps:
        if isinstance(step, int):
            gone = [at for at in present if at % step == 1]
            lane.remove(gone)
            for at in gone:
                del present[at]
        else:
            fresh = [
                Row(position + at, key(text), label, "", weight, vectors[text], votes)
                for at, (text, label, weight, votes) in enumerate(step)
            ]
            position += len(fresh)
            lane.apply(fresh)
            present |= {row.position: row for row in fresh}
        assert lane.weighing.evidence < 1_000  # asked along the way, as the loop does
    fresh_build = Lane(HIDDEN, base=SWAPPED)
    fresh_build.rebuild(reversed(present.values()), lane.recipe, lane.votes)
    same(lane, fresh_build)


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_it_does_not_matter_how_rows_are_batched(batch: int) -> None:
    rows = World().rows(World().targets(150))
    same(taught(SWAPPED, rows, batch), taught(SWAPPED, rows, 64))


def test_the_guard_judges_the_head_that_serves() -> None:
    """While it does not count poison is harmless; when it does, the burst is refused."""
    world, base = World(), own_head(range(4), LABELS[:4])
    lane = Lane(HIDDEN, base=base, guard_items=2)
    anchors = world.targets(80)
    lane.set_anchors(world.vectors(anchors), [LABELS[at] for at in anchors])
    before = lane.anchor_correct
    assert not lane.apply(world.rows(world.targets(100))).quarantined
    assert lane.anchor_correct > before + 5
    best = lane.anchor_correct
    assert lane.anchor_reference >= best
    poison = world.rows(world.targets(60, 4), ["class 5"] * 60, votes=False)
    outcome = lane.apply(poison)
    assert outcome.quarantined
    assert lane.anchor_correct >= best - 2
