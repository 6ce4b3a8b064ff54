"""The instant lane: exact forgetting, which label counts, and the guard against poison."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from honed_adapt.encoders.store import default_source, import_encoder, open_encoder
from honed_adapt.instant.lane import Lane, Row
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.serving.tokenizer import Tokenizer
from shared_data import labelled_texts

HIDDEN = 8
TRUST = {"expert": 2.0}
# The vector of a text, as an encoder would give it: the same text, the same vector.
VECTORS = np.random.default_rng(0).normal(size=(12, HIDDEN)).astype(np.float32)


def text_hash(text: int | str) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


def row(
    position: int, text: int, label: str, submitter: str = "anyone", weight: float = 1.0
) -> Row:
    return Row(position, text_hash(text), label, submitter, weight, VECTORS[text])


def same(lane: Lane, other: Lane) -> None:
    """Equal within 1e-9 relative, order of labels and temperature included."""
    assert lane.effective == other.effective
    got, expected = lane.solution, other.solution
    assert (got is None) == (expected is None)
    assert lane.head.temperature == pytest.approx(other.head.temperature, rel=1e-9)
    if got is None or expected is None:
        return
    assert got.labels == expected.labels
    for name in ("weight", "bias"):
        one, two = getattr(got, name), getattr(expected, name)
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-9 * max(np.abs(two).max(), 1))


LABEL = st.tuples(
    st.integers(0, len(VECTORS) - 1),
    st.sampled_from("abcd"),
    st.sampled_from(["anyone", "other", "expert"]),
    st.sampled_from([0.2, 1.0, 10.0]),
)
FORGET = st.integers(0, 1_000)
STEP = st.one_of(st.lists(LABEL, min_size=1, max_size=5), FORGET)


@settings(deadline=None, max_examples=150)
@given(st.lists(STEP, max_size=25))
def test_any_history_equals_a_fresh_build_from_what_is_left(
    steps: list[list[tuple[int, str, str, float]] | int],
) -> None:
    """Replaced labels of a text, retractions and deletions are all among the steps."""
    lane = Lane(HIDDEN, trust=TRUST)
    present: dict[int, Row] = {}
    position = 0
    for step in steps:
        if isinstance(step, int):
            gone = [p for p in present if p % 7 == step % 7]
            lane.remove([*gone, 10_000])
            for p in gone:
                del present[p]
            continue
        rows = [row(position + at, *label) for at, label in enumerate(step, 1)]
        position += len(rows)
        present |= {one.position: one for one in rows}
        assert not lane.apply(rows).quarantined
    fresh = Lane(HIDDEN, trust=TRUST)
    fresh.rebuild(present.values(), lane.recipe, lane.votes)
    same(lane, fresh)
    backwards = Lane(HIDDEN, trust=TRUST)
    backwards.rebuild(reversed(present.values()), lane.recipe, lane.votes)
    same(backwards, fresh)


def test_nothing_learned_is_an_empty_head() -> None:
    lane = Lane(HIDDEN)
    assert lane.head.num_labels == 0
    assert lane.head.weight.shape == (0, HIDDEN)
    lane.apply([row(1, 0, "a")])
    lane.remove([1])
    assert lane.head.num_labels == 0
    assert 1 not in lane


def test_a_new_label_needs_one_example() -> None:
    lane = Lane(HIDDEN)
    lane.apply([row(at, at, "ab"[at % 2]) for at in range(6)])
    lane.apply([row(9, 9, "new")])
    head = lane.head
    assert head.labels == ("a", "b", "new")
    assert head.labels[int((head.weight @ VECTORS[9] + head.bias).argmax())] == "new"


def test_the_newest_label_of_the_most_trusted_submitter_counts() -> None:
    lane = Lane(HIDDEN, trust=TRUST)

    def label_in_effect() -> tuple[str, ...]:
        return lane.head.labels

    lane.apply([row(1, 0, "first")])
    assert label_in_effect() == ("first",)
    lane.apply([row(2, 0, "second")])
    assert label_in_effect() == ("second",)
    lane.apply([row(3, 0, "expert's", "expert"), row(4, 0, "third")])
    assert label_in_effect() == ("expert's",)
    assert lane.effective == 1
    lane.remove([3])
    assert label_in_effect() == ("third",)
    lane.remove([4, 2])
    assert label_in_effect() == ("first",)


def test_labels_stand_in_the_order_of_their_first_row() -> None:
    lane = Lane(HIDDEN)
    lane.apply([row(1, 0, "z"), row(2, 1, "a"), row(3, 2, "z")])
    assert lane.head.labels == ("z", "a")
    lane.remove([1])
    assert lane.head.labels == ("a", "z")


class Clusters:
    """Texts of five classes as vectors of length 1 around five directions."""

    def __init__(self, classes: int = 5, hidden: int = 32) -> None:
        self.random = np.random.default_rng(4)
        self.centres = self.random.normal(size=(classes, hidden))
        self.hidden = hidden
        self.position = 0

    def vectors(self, targets: NDArray[np.int64]) -> NDArray[np.float32]:
        noise = self.random.normal(size=(len(targets), self.hidden)) * 1.1
        vectors = self.centres[targets] + noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)

    def rows(self, targets: NDArray[np.int64], labels: Sequence[str]) -> list[Row]:
        start, self.position = self.position, self.position + len(targets)
        return [
            Row(at, text_hash(f"text {at}"), label, "", 1.0, vector)
            for at, (label, vector) in enumerate(
                zip(labels, self.vectors(targets), strict=True), start + 1
            )
        ]


def named(targets: NDArray[np.int64]) -> list[str]:
    return [f"class {target}" for target in targets]


def guarded(guard_items: int) -> tuple[Lane, list[Row], list[Row]]:
    """A lane that has learned five classes, a poisoned burst, and innocents to mix into it."""
    clusters = Clusters()
    lane = Lane(clusters.hidden, guard_items=guard_items)
    anchor = np.arange(100) % 5
    lane.set_anchors(clusters.vectors(anchor), named(anchor))
    learned = np.arange(40) % 5
    rows = clusters.rows(learned, named(learned))
    for at in range(0, len(rows), 10):
        assert not lane.apply(rows[at : at + 10]).quarantined
    victims = np.arange(60) % 4 + 1
    poison = clusters.rows(victims, ["class 0"] * 60)
    honest = np.arange(20) % 5
    return lane, poison, clusters.rows(honest, named(honest))


def mixed(poison: list[Row], innocents: list[Row]) -> list[Row]:
    """Three poisoned rows, then an innocent one, and so on."""
    burst: list[Row] = []
    for at, innocent in enumerate(innocents):
        burst += [*poison[3 * at : 3 * at + 3], innocent]
    return burst


def check_guard(open_lane: Lane, lane: Lane, poison: list[Row], innocents: list[Row]) -> None:
    """The burst ruins the open lane; in the guarded one it costs 2 anchor answers at most."""
    before = lane.anchor_correct
    assert open_lane.anchor_correct == before
    burst = mixed(poison, innocents)
    assert not open_lane.apply(burst).quarantined
    assert open_lane.anchor_correct < before - 5

    outcome = lane.apply(burst)
    assert outcome.anchor_correct == lane.anchor_correct >= before - 2
    poisoned = {one.position for one in poison}
    refused = {one.position for one in outcome.quarantined}
    assert refused
    assert all(one.correct < one.reference - 2 for one in outcome.quarantined)
    assert len(refused - poisoned) <= len(innocents) / 4
    assert len(refused & poisoned) >= len(poison) / 5
    assert all((one.position in lane) == (one.position not in refused) for one in burst)


def test_the_guard_refuses_a_poisoned_burst_and_learns_the_innocents_in_it() -> None:
    open_lane, poison, innocents = guarded(guard_items=1_000)
    lane, _, _ = guarded(guard_items=2)
    check_guard(open_lane, lane, poison, innocents)


def test_a_guarded_lane_equals_a_fresh_build_from_the_rows_it_admitted() -> None:
    lane, poison, innocents = guarded(guard_items=2)
    burst = mixed(poison, innocents)
    lane.apply(burst)
    fresh, _, _ = guarded(guard_items=1_000)
    fresh.apply([one for one in burst if one.position in lane])
    same(lane, fresh)


def test_poison_that_comes_one_by_one_costs_no_more_than_the_allowance() -> None:
    lane, poison, _ = guarded(guard_items=2)
    before = lane.anchor_correct
    for one in poison:
        lane.apply([one])
    assert lane.anchor_correct >= before - 2


def test_forgetting_is_never_refused_and_the_guard_goes_on_from_there() -> None:
    lane, _, innocents = guarded(guard_items=2)
    before = lane.anchor_correct
    lane.remove(range(5, 41))
    assert lane.effective == 4
    assert lane.anchor_correct < before - 2
    assert lane.anchor_reference == lane.anchor_correct
    assert innocents[0].position in lane or not lane.apply(innocents[:1]).quarantined


def test_the_reference_survives_a_restart_unless_it_was_earned_with_forgotten_rows() -> None:
    clusters = Clusters()
    targets = np.arange(50) % 5
    anchors, rows = clusters.vectors(targets), clusters.rows(targets, named(targets))
    lane = Lane(clusters.hidden)
    lane.rebuild(rows)
    lane.set_anchors(anchors, named(targets))
    score = lane.anchor_correct
    assert (lane.anchor_total, lane.anchor_reference) == (50, score)
    lane.set_anchors(anchors, named(targets), score + 2)
    assert lane.anchor_reference == score + 2
    lane.set_anchors(anchors, named(targets), score + 3)
    assert lane.anchor_reference == score


@pytest.mark.data
def test_the_guard_refuses_real_texts_with_flipped_labels(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Banking77 train rows of 12 intents: 25 learned, 8 anchors, then the burst, per intent."""
    by_label: dict[str, list[str]] = {}
    for text, label in labelled_texts("banking77/train.csv"):
        by_label.setdefault(label, []).append(text)
    names = sorted(by_label, key=lambda label: (-len(by_label[label]), label))[:12]
    texts = {label: by_label[label][:40] for label in names}
    source = default_source()
    assert source is not None
    home = tmp_path_factory.mktemp("home")
    files = open_encoder(home, import_encoder(source, home))
    encoder, tokenizer = OnnxEncoder(files), Tokenizer(files)
    tokens = [row.ids for label in names for row in tokenizer.tokenise(texts[label])]
    vectors = np.concatenate([encoder.encode(tokens[at : at + 8]) for at in range(0, 480, 8)])
    vector = {
        (label, at): vectors[40 * n + at] for n, label in enumerate(names) for at in range(40)
    }

    def rows(kept: range, first: int, label: str | None = None, weight: float = 1.0) -> list[Row]:
        pairs = [(name, at) for at in kept for name in names]
        return [
            Row(first + n, text_hash(texts[name][at]), label or name, "", weight, vector[name, at])
            for n, (name, at) in enumerate(pairs)
        ]

    def taught(guard_items: int) -> Lane:
        lane = Lane(files.hidden, guard_items=guard_items)
        lane.rebuild(rows(range(25), 1))
        anchors = [(name, at) for name in names for at in range(25, 33)]
        matrix = np.stack([vector[pair] for pair in anchors])
        lane.set_anchors(matrix, [name for name, _ in anchors])
        return lane

    poison, innocents = rows(range(33, 38), 1_001, names[0], 5.0), rows(range(38, 40), 2_001)
    poison = [one for one in poison if one.text_hash not in {text_hash(t) for t in texts[names[0]]}]
    check_guard(taught(1_000), taught(2), poison, innocents[:20])
