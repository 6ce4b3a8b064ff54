"""The whole story in under two minutes, unattended and checked; run by `make demo`.

Starts a server in a fresh data folder, asks it under load from several client threads, teaches it a
brand-new label, deletes that feedback again, rolls back, kills the server and finds everything
again. Every answer is recorded; at the end a table says what was checked. Exit code 0 only if all
of it holds. `--plant mixed` or `--plant lost` spoils one recorded answer: then it must fail.
"""

import argparse
import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic

from rich.console import Console
from rich.table import Table

from honed import Client, HonedError, Prediction

FOLDER = Path(__file__).parent / "support"
MODEL, NEW_LABEL = "support", "loyalty_points"
CLIENTS = 6
# Batches group texts differently each time, and float32 sums depend on the grouping.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what came of it; times in monotonic seconds."""

    client: int
    number: int
    text: str
    sent: float
    received: float
    prediction: Prediction | None
    failure: str = ""


@dataclass(slots=True)
class Story:
    """What happened, and what was checked about it."""

    console: Console
    answers: list[Answer] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    sent: dict[int, int] = field(default_factory=dict)
    went_back: float = float("inf")
    served: list[tuple[float, int]] = field(default_factory=list)
    checks: list[tuple[str, str, bool]] = field(default_factory=list)

    def check(self, what: str, found: str, good: bool) -> None:
        """Notes a check and its outcome."""
        self.checks.append((what, found, good))
        self.console.print(f"  {'[green]ok[/]' if good else '[red]FAILED[/]'}  {what}: {found}")


def texts(name: str) -> list[tuple[str, str]]:
    """(text, label) rows of a file beside this script."""
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


@contextmanager
def server(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process on free ports; yields it and its address."""
    command = [sys.executable, "-m", "honed_server.main", "--home", str(home)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--http-port", "0", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=(home.parent / "server.log").open("a"),
        text=True,
    )
    try:
        assert process.stdout is not None, "stdout is a pipe"
        found = re.search(r"gRPC on (\S+?:\d+)", process.stdout.readline())
        if found is None:
            raise SystemExit(f"the server did not start; see {home.parent / 'server.log'}")
        yield process, found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def ask_for_ever(story: Story, target: str, client: int, stop: Event) -> None:
    """One client: asks anchor texts in turn and records every outcome."""
    # Few texts, so that many answers of one revision can be compared.
    questions = [text for text, _ in texts("anchor.csv")][::5]
    with Client(target) as honed:
        number = 0
        while not stop.is_set():
            text = questions[(number * CLIENTS + client) % len(questions)]
            sent = monotonic()
            try:
                prediction, failure = honed.predict(MODEL, text, top_k=3), ""
            except HonedError as error:
                prediction, failure = None, repr(error)
            answer = Answer(client, number, text, sent, monotonic(), prediction, failure)
            with story.lock:
                story.answers.append(answer)
            number += 1
            story.sent[client] = number


@contextmanager
def load(story: Story, target: str) -> Iterator[None]:
    """Clients that ask all the time."""
    stop = Event()
    askers = [Thread(target=ask_for_ever, args=(story, target, n, stop)) for n in range(CLIENTS)]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def tell(story: Story, honed: Client) -> list[str]:
    """Corrections with a brand-new label, learned while the others ask; returns their ids."""
    rows = texts("new_label.csv")
    before = honed.predict(MODEL, rows[-1][0])
    ids, latencies = [], []
    for text, label in rows[:-1]:
        prediction = honed.predict(MODEL, text)
        started = monotonic()
        ack = honed.submit(prediction, label=label, submitter="demo", wait=True)
        latencies.append(monotonic() - started)
        ids.append(ack.feedback_id)
        story.served.append((monotonic(), ack.served_revision))
        good = ack.served and ack.served_revision >= ack.position and not ack.quarantined
        if not good:
            story.check("a correction is served", repr(ack), False)
    after = honed.predict(MODEL, rows[-1][0])
    median_ms = sorted(latencies)[len(latencies) // 2] * 1000
    story.check(
        f"{len(ids)} corrections with a brand-new label learned under load",
        f"{before.label} -> {after.label} for an unseen text",
        before.label != NEW_LABEL and after.label == NEW_LABEL,
    )
    story.check(
        "revisions advance with each correction",
        f"{len({r for _, r in story.served})} revisions, median {median_ms:.0f} ms to be served",
        len({r for _, r in story.served}) == len(ids),
    )
    return ids


def forget(story: Story, honed: Client, ids: list[str], before: dict[str, Prediction]) -> None:
    """Deletes the corrections; the answers must be those of before, and the text must be gone."""
    deletion = honed.delete(MODEL, ids, requested_by="demo")
    gone = [r for r in deletion.results if not isinstance(r, HonedError)]
    worst = max(
        abs(honed.predict(MODEL, text).probability - old.probability)
        for text, old in before.items()
    )
    story.check(
        "deleted feedback is forgotten exactly",
        f"{len(gone)} tombstones, largest change to the answers before it {worst:.1e}",
        len(gone) == len(ids) and all(not r.text for r in gone) and worst <= TOLERANCE,
    )
    labels = honed.get_model(MODEL).labels
    story.check("its label is gone", f"{len(labels)} labels", NEW_LABEL not in labels)


def go_back(story: Story, honed: Client) -> None:
    """Learns something bad, makes it a version, and rolls back."""
    question = texts("anchor.csv")[0][0]
    good = honed.predict(MODEL, question)
    honed.promote(MODEL)
    known = honed.get_model(MODEL).version
    honed.submit(model=MODEL, text=question, label="nonsense", submitter="vandal", wait=True)
    honed.promote(MODEL)
    spoiled = honed.predict(MODEL, question)
    story.went_back = monotonic()
    model = honed.rollback(MODEL, known, requested_by="demo")
    restored = honed.predict(MODEL, question)
    story.check(
        "roll back to an earlier version",
        f"{good.label} -> {spoiled.label} -> {restored.label} (version {restored.version})",
        spoiled.label == "nonsense"
        and (restored.label, restored.version) == (good.label, known)
        and model.adaptation_paused,
    )
    resumed = honed.resume(MODEL, exclude_suspected=True, requested_by="demo")
    story.check("learning resumes without the suspects", "resumed", not resumed.adaptation_paused)


def check_answers(story: Story) -> None:
    """The swap guarantee over everything that the clients recorded."""
    failures = [a.failure for a in story.answers if a.failure]
    lost = sum(story.sent.values()) - len(story.answers)
    story.check(
        "no answer lost or failed",
        f"{len(story.answers)} answers, {len(failures)} failed, {lost} lost",
        not failures and lost == 0 and bool(story.answers),
    )
    mixed = count_mixed(story.answers)
    answers = [a.prediction for a in story.answers if a.prediction is not None]
    versions = {(answer.version, answer.revision) for answer in answers}
    story.check(
        "one version per answer: same revision and text, same scores",
        f"{len(versions)} revisions seen, {mixed} mixed answers",
        mixed == 0 and len(versions) > 3,
    )
    back, stale = count_disorder(story)
    story.check(
        "fresh and monotone until the rollback",
        f"{back} went back, {stale} older than what had been acknowledged as served",
        back == stale == 0,
    )


def count_mixed(answers: list[Answer]) -> int:
    """Answers whose scores differ from others of the same version, revision and text."""
    groups: dict[tuple[int, int, str], list[Prediction]] = defaultdict(list)
    for answer in answers:
        if answer.prediction is not None:
            p = answer.prediction
            groups[p.version, p.revision, answer.text].append(p)
    return sum(not _same(group[0], other) for group in groups.values() for other in group)


def _same(one: Prediction, other: Prediction) -> bool:
    return one.label == other.label and all(
        abs(a.probability - b.probability) <= TOLERANCE
        for a, b in zip(one.scores, other.scores, strict=True)
    )


def count_disorder(story: Story) -> tuple[int, int]:
    """Answers that went back on a client, and answers older than an acknowledged revision."""
    newest: dict[int, int] = defaultdict(int)
    back = stale = 0
    for answer in sorted(story.answers, key=lambda a: (a.client, a.number)):
        if answer.prediction is None or answer.received > story.went_back:
            continue
        revision = answer.prediction.revision
        back += revision < newest[answer.client]
        newest[answer.client] = max(newest[answer.client], revision)
        acknowledged = [r for when, r in story.served if when < answer.sent]
        stale += revision < max(acknowledged, default=0)
    return back, stale


def plant(story: Story, what: str | None) -> None:
    """Spoils the record on purpose: the checks must notice."""
    middle = next(n for n, a in enumerate(story.answers) if a.prediction and n > 50)
    if what == "lost":
        del story.answers[middle]
    elif what == "mixed":
        answer = story.answers[middle]
        assert answer.prediction is not None, "chosen so"
        first, *rest = answer.prediction.scores
        scores = (replace(first, probability=first.probability / 2), *rest)
        mixed = replace(answer.prediction, scores=scores)
        story.answers[middle] = replace(answer, prediction=mixed)
        story.answers.append(replace(answer, client=-1))
        story.sent[-1] = 1


def tell_story(story: Story, home: Path) -> None:
    """The story itself."""
    with server(home) as (process, target), Client(target) as honed:
        anchors = texts("anchor.csv")
        before = {text: honed.predict(MODEL, text) for text, _ in anchors}
        right = sum(before[text].label == label for text, label in anchors)
        share = right / len(anchors)
        story.check("the example model has learned", f"{share:.0%} of the anchor set", share > 0.8)
        with load(story, target):
            ids = tell(story, honed)
            forget(story, honed, ids, before)
            go_back(story, honed)
        last = honed.predict(MODEL, anchors[0][0])
        process.send_signal(signal.SIGKILL)
        process.wait()
    with server(home) as (_, target), Client(target) as honed:
        again = honed.predict(MODEL, anchors[0][0])
        story.check(
            "kill -9 and restart resume version and answers",
            f"version {again.version}, {again.label} {again.probability:.4f}",
            again.version == last.version and _same(replace(last), replace(again)),
        )


def main() -> int:
    """Tells the story and prints what was checked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plant", choices=["mixed", "lost"], help="spoil one recorded answer")
    options = parser.parse_args()
    story, started = Story(Console()), monotonic()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory(prefix="honed-demo-") as scratch:
        tell_story(story, Path(scratch) / "home")
    plant(story, options.plant)
    check_answers(story)
    table = Table("checked", "found", "", title=f"Honed demo, {monotonic() - started:.0f} s")
    for what, found, good in story.checks:
        table.add_row(what, found, "[green]ok[/]" if good else "[red]FAILED[/]")
    story.console.print(table)
    return 0 if all(good for _, _, good in story.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
