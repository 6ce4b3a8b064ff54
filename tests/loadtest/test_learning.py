"""The learning suite: its streams, its protocol and measures, and a whole run on a small file."""

import json
from collections import Counter
from dataclasses import replace
from multiprocessing import active_children

import numpy as np
import pytest

from honed_adapt.instant.evidence import Logits
from honed_loadtest import report
from honed_loadtest.learning.__main__ import main
from honed_loadtest.learning.aims import aims
from honed_loadtest.learning.catalogue import ENTRIES, HONED, Plan, missing
from honed_loadtest.learning.contestant import Answers
from honed_loadtest.learning.honed_lane import HonedLane, difference
from honed_loadtest.learning.jobs import Job
from honed_loadtest.learning.measures import measures
from honed_loadtest.learning.others import Neighbours
from honed_loadtest.learning.preparing import VECTORS, prepared
from honed_loadtest.learning.progressive import Progress
from honed_loadtest.learning.results import results
from honed_loadtest.learning.running import Runner, Worker
from honed_loadtest.learning.store import FAILED, Store
from honed_loadtest.learning.streams import (
    ADVERSARY,
    FIRST_LABELS,
    FORMS,
    Material,
    Said,
    stream,
)
from honed_loadtest.learning.tables import tables
from honed_loadtest.learning.vectors import Encoded
from loadtest.small import small_rows, write_rows

HIDDEN, CLASSES = 16, 12


def _material(rows: int = 240) -> Material:
    said = tuple(
        Said(f"text {at}", f"c{at % CLASSES:02}", f"c{at % CLASSES:02}") for at in range(rows)
    )
    test = tuple((f"test {at}", f"c{at % CLASSES:02}") for at in range(60))
    return Material("made", said, test)


def _encoded(data: Material) -> Encoded:
    """Vectors that lie about their class's own direction."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(CLASSES, HIDDEN))
    rows = [(one.text, one.truth) for one in data.train] + list(data.test)
    found = np.array([centres[int(label[1:])] for _, label in rows])
    found += 0.3 * random.normal(size=found.shape)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return Encoded([text for text, _ in rows], found.astype(np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_brings_the_same_rows(form):
    data = _material()
    made = stream(data, form, 3)
    texts = [one.text for one in made.said]
    assert len(set(texts)) == len(texts)
    left_out = {one.text for one in data.train} - set(texts)
    truth = {one.text: one.truth for one in data.train}
    assert all(one.truth == truth[one.text] for one in made.said)
    assert bool(left_out) == (form == "out-of-scope")
    assert made == stream(data, form, 3), "a form is a function of its seed"


def test_what_is_wrong_is_wrong_as_often_as_is_said():
    data = _material(2400)
    noisy = stream(data, "noisy", 0)
    assert np.mean([one.label != one.truth for one in noisy.said]) == pytest.approx(0.2, abs=0.03)
    attacked = stream(data, "adversarial", 0)
    wrong = {one.submitter for one in attacked.said if one.label != one.truth}
    assert wrong == {ADVERSARY}
    counts = Counter(one.submitter for one in attacked.said)
    assert counts[ADVERSARY] / len(attacked.said) == pytest.approx(0.3, abs=0.03)


def test_blocks_of_classes_come_one_after_the_other():
    made = stream(replace(_material(480), name="blocks"), "class-incremental", 1)
    place = [next(at for at, block in enumerate(made.blocks) if one.truth in block)
             for one in made.said]  # fmt: skip
    assert place == sorted(place)
    assert sum(len(block) for block in made.blocks) == CLASSES


class Recorder:
    """Answers what it learned last, and keeps what it was shown."""

    def __init__(self):
        self.events = []
        self.last = ""

    def learn(self, said, vectors):
        self.events += [("learn", one.text) for one in said]
        self.last = said[-1].label

    def settle(self):
        self.events.append(("settle", ""))

    def answer(self, texts, vectors):
        self.events += [("answer", text) for text in texts]
        return Answers([self.last] * len(texts), np.zeros(len(texts)))

    def close(self):
        pass


@pytest.mark.parametrize("delay", [0, 20])
def test_a_text_is_answered_before_its_label_and_those_not_due_are_learned(delay):
    data = _material(100)
    made = replace(stream(data, "random", 0), test=())
    seen = Recorder()
    Progress(made, _encoded(data), every=10, delay=delay).run(seen)
    assert Counter(kind for kind, _ in seen.events) == {"answer": 100, "learn": 100}
    at = {event: place for place, event in enumerate(seen.events)}
    texts = [one.text for one in made.said]
    for place, text in enumerate(texts):
        assert at["answer", text] < at["learn", text]
        later = texts[min(place + delay, len(texts) - 1)]
        assert at["answer", later] < at["learn", text]


def test_measures_say_what_happened():
    data = _material(480)
    made = stream(data, "class-incremental", 0)
    good, forgetful = Neighbours(made.classes), Recorder()
    encoded = _encoded(data)
    found = measures(made, Progress(made, encoded, every=10).run(good))
    assert found["final"] > 0.9
    assert found["forgetting"] <= 0.05
    assert found["reached"]["0.8"] < 480
    assert found["curve"][-1] == (480, found["final"])
    lost = measures(made, Progress(made, encoded, every=10).run(forgetful))
    assert lost["final"] == pytest.approx(1 / CLASSES, abs=0.02)
    assert lost["forgetting"] > 0.1
    assert lost["reached"]["0.8"] is None


_HERE = [entry for entry in ENTRIES if entry.environment is None]


@pytest.mark.parametrize("entry", _HERE, ids=lambda entry: entry.name)
def test_the_looks_that_are_reported_are_at_all_labels_that_came(entry):
    assert missing(entry) is None
    data = _material(1040)
    late = ("c10", "c11")  # classes that come last before the look at 1,000, and before the end
    said = [one for one in data.train if one.truth not in late]
    first, last = ([one for one in data.train if one.truth == label][:20] for label in late)
    made = replace(stream(data, "random", 0), said=(*said[:800], *said[:180], *first, *last))
    trace = Progress(made, _encoded(data), every=40).run(entry.make(made.classes))
    for count, label in ((1000, "c10"), (1020, "c11")):
        look = next(one for one in trace.looks if one.labels == count)
        of_label = np.array([truth == label for _, truth in made.test])
        assert look.right[of_label].mean() > 0.5


def test_the_lane_names_who_lies_and_forgets_exactly():
    data = _material(250)
    encoded = _encoded(data)
    attacked = stream(data, "adversarial", 0)
    lane = HonedLane()
    found = measures(attacked, Progress(attacked, encoded, every=25).run(lane))
    assert lane.suspects == [ADVERSARY]
    assert found["final"] > 0.9
    assert lane.deletion_error() < 1e-9


def test_heads_differ_by_their_weights_and_by_their_biases():
    head = Logits(("a", "b"), np.array([[4.0, 0.0], [1.0, -2.0]]), np.array([0.0, 0.5]))
    assert difference(head, head) == 0.0
    assert difference(replace(head, weight=head.weight + 0.4), head) == pytest.approx(0.1)
    assert difference(head.raised(np.array([0.0, 0.01])), head) == pytest.approx(0.02)


def test_an_aim_that_is_missed_says_so():
    summary = {"final": {"mean": 0.93}, "forgetting": None, "auroc": None, "first": None,
               "stream_first": None, "suspects": []}  # fmt: skip
    run = {"name": HONED, "stream": "banking77/random", "summary": summary, "recent": None,
           "deletion_error": 2e-9}  # fmt: skip
    tuned = [{"data": "kdconv_zh", "instant": 0.5, "periodic": 0.56},
             {"data": "medical_abstracts", "instant": 0.5, "periodic": 0.52}]  # fmt: skip
    found = aims({"runs": [run], "rounds": tuned, "product": None})
    assert {one["aim"]: one["reached"] for one in found} == {
        "banking77, random: test accuracy at the end": False,
        "kdconv_zh: accuracy gained by a round": True,
        "medical_abstracts: accuracy gained by a round": False,
        "deletion against a fresh build, worst of 1 streams": False,
    }


def test_findings_are_kept_for_the_same_commit_and_failures_are_tried_again(tmp_path):
    job, other = Job("rounds", "a"), Job("rounds", "b")
    store = Store(tmp_path, "abc123", (5,))
    store.keep(job, {"periodic": 0.9})
    store.keep(other, {FAILED: "no rows"})
    again = Store(tmp_path, "abc123", (5,))
    assert again.found(job) == {"periodic": 0.9}
    assert again.found(other) is None
    assert again.failure(other) == "no rows"
    assert Store(tmp_path, "abc123", (6,)).found(job) is None, "of another size"
    assert Store(tmp_path, "def456", (5,)).found(job) is None, "of another commit"
    Store(tmp_path, "abc-dirty", (5,)).keep(job, {"periodic": 0.9})
    assert Store(tmp_path, "abc-dirty", (5,)).found(job) is None, "a changed tree"


def test_a_job_that_fails_says_why_and_the_next_one_is_done(small_encoder, tmp_path):
    file = write_rows(tmp_path / "mine.csv", small_rows(4))
    good = Job("stream", str(file), "random", "5 nearest neighbours")
    jobs, absent = prepared([good], plan := Plan(), tmp_path)
    assert (jobs, absent) == ([good], [])
    bad = replace(good, form="sideways")
    told, store = [], Store(tmp_path / "found", "abc123", ())
    Runner(plan, store, tmp_path / VECTORS, lambda: told.append(1)).run([bad, good], 1)
    assert store.failure(bad) == "KeyError: 'sideways'"
    assert store.found(good)["labels"] == 22
    assert len(told) == 2
    Runner(plan, store, tmp_path / "none", told.clear).run([good], 1)
    assert len(told) == 2, "it was done before"


def test_a_worker_whose_process_dies_says_so_and_does_the_next_job(small_encoder, tmp_path):
    file = write_rows(tmp_path / "mine.csv", small_rows(4))
    job = Job("stream", str(file), "random", "5 nearest neighbours")
    before = set(active_children())
    worker = Worker(Plan(), tmp_path)
    worker.begin(job)
    for process in set(active_children()) - before:
        process.kill()
    assert worker.end() == (job, {FAILED: "its process died"})
    worker.begin(job)
    assert worker.end()[1]["labels"] == 22
    worker.close()


def test_periods_of_rounds_come_together_once_all_are_done():
    one, two = Job("rounds", "dated", "a to b"), Job("rounds", "dated", "b to c")
    first = {"instant": 0.5, "periodic": 0.75, "asked": 100, "cpu_s": 60.0}
    second = {"instant": 0.6, "periodic": 0.65, "asked": 300, "cpu_s": 120.0}
    absent = [("all", "SetFit", "no network")]
    part = results([one, two], {one: first}, {two: "not done"}, absent)
    assert [(each["data"], each["asked"]) for each in part["rounds"]] == [("dated, a to b", 100)]
    missing = next(table for table in tables(part) if table.title == "Not measured")
    assert list(missing.rows) == [
        ["rounds dated b to c", "", "not done"],
        ["all", "SetFit", "no network"],
    ]
    whole = results([one, two], {one: first, two: second}, {}, [])["rounds"]
    assert [each["data"] for each in whole] == ["dated"]
    assert [(each["instant"], each["periodic"]) for each in whole] == [(0.575, 0.675)]


def test_any_file_is_measured_and_shown(small_encoder, tmp_path, capsys):
    file = tmp_path / "mine.csv"
    rows = [(f"{'word ' * (n % 4 + 1)}number {n}", f"label {n % 4}") for n in range(60)]
    file.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    assert main(["--csv", str(file), "--quick", "--output", str(tmp_path)]) == 0
    document = report.Document.read(tmp_path / "learning.json")
    streams = {run["stream"] for run in document.results["runs"]}
    forms = [form for form in FORMS if form != "by-date"]
    assert streams == {f"mine/{form}" for form in (*forms, FIRST_LABELS)}
    names = {run["name"] for run in document.results["runs"]}
    assert {HONED, "5 nearest neighbours"} <= names
    assert all(one["reached"] is True for one in document.results["aims"]), "only deletion is one"
    assert json.loads(json.dumps(document.results)) == document.results
    assert "mine/noisy" in capsys.readouterr().out
    page = tmp_path / "page.md"
    page.write_text("<!-- learning:begin -->\n<!-- learning:end -->\n")
    assert main(["--render", "--output", str(tmp_path), "--page", str(page)]) == 0
    assert "| Honed, instant lane |" in page.read_text()
    assert (tmp_path / "learning.svg").read_text().count("<polyline") >= len(streams)
