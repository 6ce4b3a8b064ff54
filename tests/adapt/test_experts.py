"""The mix of experts in a lane: when it grows, who chooses it, and that no history stays in it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from honed_adapt.head import MAX_FEATURES
from honed_adapt.instant.features import expand
from honed_adapt.instant.lane import Lane, Row
from honed_adapt.instant.recipe import SHARES, Recipe, Vote, features_for, share_for
from honed_adapt.scoring import best_labels

HIDDEN = 6
RANDOM = np.random.default_rng(5)
# A ring around a point: no linear head can tell the two apart.
ANGLES = RANDOM.uniform(0, 2 * np.pi, 1_200)
RING = RANDOM.random(1_200) < 0.5
VECTORS = (0.15 * RANDOM.normal(size=(1_200, HIDDEN))).astype(np.float32)
VECTORS[RING, 0] += np.cos(ANGLES[RING])
VECTORS[RING, 1] += np.sin(ANGLES[RING])


def row(at: int, *, votes: bool = True, weight: float = 1.0) -> Row:
    key = hashlib.sha256(str(at).encode()).digest()
    label = "ring" if RING[at % 1_200] else "point"
    return Row(at, key, label, "", weight, VECTORS[at % 1_200], votes)


def taught(count: int, batch: int = 16, *, votes: bool = True) -> Lane:
    """A lane that has learned the first rows, with all work done in between."""
    lane = Lane(HIDDEN)
    for start in range(0, count, batch):
        lane.apply([row(at, votes=votes) for at in range(start, min(start + batch, count))])
        idle(lane)
    return lane


def idle(lane: Lane) -> None:
    while lane.busy:
        lane.work()


def accuracy(lane: Lane) -> float:
    asked = range(900, 1_200)
    found = best_labels(lane.head, VECTORS[900:])
    return float(np.mean([one == row(at).label for one, at in zip(found, asked, strict=True)]))


def same(lane: Lane, other: Lane) -> None:
    """Equal within 1e-9, temperature included."""
    one, two = lane.learned, other.learned
    assert one is not None
    assert two is not None
    assert (one.labels, one.features) == (two.labels, two.features)
    for name in ("weight", "bias"):
        a, b = getattr(one, name), getattr(two, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * max(np.abs(b).max(), 1))
    assert lane.temperature == pytest.approx(other.temperature, rel=1e-9)


def rebuilt(lane: Lane, rows: Sequence[Row]) -> Lane:
    """A lane made at once, from the rows, the recipe as logged and the votes as kept."""
    fresh = Lane(HIDDEN)
    fresh.rebuild(rows, Recipe.of(lane.recipe.numbers()), lane.votes)
    return fresh


def test_features_grow_with_the_labels_and_learn_what_no_linear_head_can() -> None:
    few = taught(60)
    assert few.head.features is None
    many = taught(200)
    assert many.head.features is not None
    assert many.head.features.count == many.recipe.features == 1_024
    assert accuracy(many) > 0.95 > accuracy(few) + 0.15


def test_the_head_of_a_revision_does_not_change_while_a_larger_one_is_built() -> None:
    lane = taught(64)
    head, recipe = lane.head, lane.recipe
    idle(lane)
    assert (lane.head, lane.recipe) == (head, recipe)
    lane.apply([row(64)])
    assert lane.recipe.features == 1_024


def test_a_larger_one_takes_over_without_a_label_and_is_what_a_fresh_build_is() -> None:
    lane = taught(64)
    lane.set_anchors(VECTORS[900:960], [row(at).label for at in range(900, 960)])
    assert (lane.growing, lane.ready) == (True, True)
    before = lane.anchor_correct
    lane.take_over()
    assert (lane.growing, lane.ready) == (False, False)
    assert lane.recipe.features == 1_024
    assert lane.anchor_reference == lane.anchor_correct > before
    same(lane, rebuilt(lane, [row(at) for at in range(64)]))


def test_labels_are_learned_and_forgotten_while_a_larger_one_is_built() -> None:
    lane = taught(60)
    lane.apply([row(at) for at in range(60, 70)])
    for at in range(70, 76):  # the sums of these are not among those being built
        lane.work()
        lane.apply([row(at)])
        lane.remove([at - 65, at])
    assert lane.recipe.features == 0
    idle(lane)
    lane.apply([row(80)])
    assert lane.recipe.features == 1_024
    left = [*range(5), *range(11, 70), 80]
    same(lane, rebuilt(lane, [row(at) for at in left]))


STEP = st.tuples(st.sampled_from(["add", "remove", "change"]), st.integers(1, 12))


@settings(deadline=None, max_examples=5)
@given(st.lists(STEP, min_size=1, max_size=6))
def test_any_history_equals_a_fresh_build_from_rows_recipe_and_votes(
    steps: list[tuple[str, int]],
) -> None:
    lane = taught(90)
    present = {at: row(at) for at in range(90)}
    position = 2_400  # another position of the same texts
    for what, count in steps:
        position += 100
        if what == "remove":
            gone = list(present)[:: count + 1]
            lane.remove(gone)
            for at in gone:
                del present[at]
            continue
        first = position if what == "add" else 10
        new = [
            Row(position + n, row(first + n).text_hash, "ring", "", 2.0, row(first + n).vector)
            for n in range(count)
        ]
        present |= {one.position: one for one in new}
        lane.apply(new)
        idle(lane)
    if present:
        same(lane, rebuilt(lane, list(reversed(present.values()))))


def test_only_audits_vote_and_a_deleted_row_takes_its_vote_along() -> None:
    assert not taught(200, votes=False).votes
    lane = taught(200)
    assert lane.votes.keys() == set(range(64, 200))  # there was something to compare from then on
    lane.remove([120, 121])
    assert lane.votes.keys() == set(range(64, 200)) - {120, 121}


def test_an_audit_of_a_text_that_was_learned_before_does_not_vote() -> None:
    lane = taught(200)
    before = dict(lane.votes)
    known = [
        Row(1_300 + at, row(at).text_hash, "ring", "", 1.0, row(at).vector, True)
        for at in range(10)
    ]
    lane.apply([*known, row(201)])
    assert lane.votes.keys() - before.keys() == {201}


def test_a_text_that_is_audited_twice_at_once_votes_once() -> None:
    lane = taught(200)
    before = dict(lane.votes)
    lane.apply([row(300), replace(row(300), position=301), row(302)])
    assert lane.votes.keys() - before.keys() == {300, 302}


def test_votes_choose_the_share_and_corrections_do_not() -> None:
    """Here only the regression is ever right, and votes see it."""
    assert taught(200).recipe.share == 1.0
    assert taught(200, votes=False).recipe.share == 0.7
    lane = taught(200)
    lane.remove(range(64, 180))
    assert len(lane.votes) == 20
    assert lane.recipe.share == 0.7


def votes(good: int, count: int, least: int = 0) -> list[Vote]:
    noise = np.random.default_rng(0).normal(size=(count, 1))
    losses = noise + np.where(np.arange(len(SHARES)) == good, 0.4, 0.6)
    right = np.broadcast_to(np.arange(len(SHARES)) >= least, losses.shape)
    return [tuple(vote) for vote in np.concatenate([losses, right], axis=1).tolist()]


def test_the_share_needs_enough_votes_and_more_than_chance() -> None:
    assert share_for(votes(5, 63), 100, 0.1) == 0.7
    assert share_for(votes(5, 64), 100, 0.1) == 1.0
    assert share_for(votes(0, 500), 100, 0.1) == 0.0
    assert share_for(votes(0, 500, least=1), 100, 0.1) == 0.7  # less sure, and less often right
    even = [tuple([0.5] * 2 * len(SHARES))] * 500
    assert share_for(even, 100, 0.1) == 0.7
    assert share_for([*votes(0, 100), *votes(5, 100)], 100, 0.1) == 1.0  # the later half counts


def test_without_votes_the_regression_counts_more_the_more_labels_there_are() -> None:
    shares = [share_for([], rows, 0.1) for rows in (64, 1_000, 10_000)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    assert share_for([], 10_000, 1.0) == share_for([], 1_000, 1.0)  # labels that want smoothing


def test_features_do_not_go_back_and_forth() -> None:
    assert [features_for(rows, 0) for rows in (0, 63, 64, 256, 512)] == [0, 0, 1_024, 2_048, 4_096]
    assert features_for(511, MAX_FEATURES) == MAX_FEATURES
    assert features_for(255, MAX_FEATURES) == 1_024
    assert features_for(31, 1_024) == 0


def test_what_the_guard_refuses_leaves_no_trace() -> None:
    lane, twin = taught(100), taught(100)
    for one in (lane, twin):
        one.set_anchors(VECTORS[900:960], [row(at).label for at in range(900, 960)])
    wrong = [
        Row(one.position, one.text_hash, "point", "", 10.0, one.vector, True)
        for one in (row(at) for at in range(100, 116))
    ]
    refused = [one.position for one in lane.apply(wrong).quarantined]
    assert refused
    twin.apply([one for one in wrong if one.position not in refused])
    assert not set(refused) & lane.votes.keys()
    admitted = [one for one in wrong if one.position in lane]
    same(lane, rebuilt(lane, [*map(row, range(100)), *admitted]))


def test_held_out_logits_are_those_of_a_lane_that_never_saw_the_row() -> None:
    lane = taught(120)
    rows = [row(at) for at in range(120)]
    found = lane.held_out(rows[:20]).logits * lane.temperature
    for at in (0, 7, 19):
        without = rebuilt(lane, [one for one in rows if one.position != at])
        linear = without.learned
        assert linear is not None
        expected = linear.of(VECTORS[[at]])[0] * without.temperature
        expected = expected[[linear.labels.index(label) for label in lane.labels]]
        np.testing.assert_allclose(
            found[at] - found[at].mean(), expected - expected.mean(), atol=0.02 * np.ptp(expected)
        )


def test_a_head_serves_what_its_lane_means() -> None:
    lane = taught(130)
    linear = lane.learned
    assert linear is not None
    assert linear.features is not None
    read = expand(VECTORS[900:], linear.features)
    wanted = [linear.labels[at] for at in (read @ linear.weight.T + linear.bias).argmax(axis=1)]
    assert best_labels(lane.head, VECTORS[900:]) == wanted
