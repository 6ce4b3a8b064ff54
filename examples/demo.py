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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from demo_checks import TOLERANCE, Answer, Story, check_answers, plant, same
from rich.console import Console
from rich.table import Table

from honed import Client, HonedError, Prediction

FOLDER = Path(__file__).parent / "support"
MODEL, NEW_LABEL = "support", "loyalty_points"
CLIENTS = 6
PATIENCE_S = 240.0  # learning yields to all others: on a busy machine it takes long


def texts(name: str) -> list[tuple[str, str]]:
    """(text, label) rows of a file beside this script."""
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


@contextmanager
def server(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process on free ports; yields it and its address."""
    command = [sys.executable, "-m", "honed_server.main", "--home", str(home)]
    command += ["--port", "0", "--http-port", "0", "--log-format", "json"]
    path = home.parent / "server.log"
    with (
        path.open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None, "stdout is a pipe"
            found = re.search(r"gRPC on (\S+?:\d+)", process.stdout.readline())
            if found is None:
                raise SystemExit(f"the server did not start; see {path}")
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


def settle(honed: Client) -> None:
    """Waits until all feedback is learned, and nothing larger is being made of it."""
    with honed.watch(MODEL, timeout_s=PATIENCE_S) as events:
        next(event for event in events if event.model.settled)


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
    ack = honed.submit(model=MODEL, text=question, label="nonsense", submitter="vandal", wait=True)
    honed.promote(MODEL)
    spoiled = honed.predict(MODEL, question)
    story.went_back = monotonic()
    model = honed.rollback(MODEL, known, requested_by="demo")
    restored = honed.predict(MODEL, question)
    story.check(
        "roll back to an earlier version",
        f"{good.label} -> {spoiled.label} -> {restored.label} (version {restored.version})",
        ack.served
        and spoiled.label == "nonsense"
        and (restored.label, restored.version) == (good.label, known)
        and model.adaptation_paused,
    )
    resumed = honed.resume(MODEL, exclude_suspected=True, requested_by="demo")
    story.check("learning resumes without the suspects", "resumed", not resumed.adaptation_paused)
    settle(honed)


def tell_story(story: Story, home: Path) -> None:
    """The story itself."""
    with server(home) as (process, target), Client(target, timeout_s=PATIENCE_S) as honed:
        anchors = texts("anchor.csv")
        settle(honed)
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
    with server(home) as (_, target), Client(target, timeout_s=PATIENCE_S) as honed:
        settle(honed)
        again = honed.predict(MODEL, anchors[0][0])
        story.check(
            "kill -9 and restart resume version and answers",
            f"version {again.version}, {again.label} {again.probability:.4f}",
            again.version == last.version and same(last, again),
        )


def verdict(story: Story, spoil: str | None) -> int:
    """Checks what was recorded and prints the table; returns the exit code.

    Args:
        story: As it was told.
        spoil: What `plant` is to spoil before.
    """
    plant(story, spoil)
    check_answers(story)
    table = Table("checked", "found", "", title=f"Honed demo, {monotonic() - story.began:.0f} s")
    for what, found, good in story.checks:
        table.add_row(what, found, "[green]ok[/]" if good else "[red]FAILED[/]")
    story.console.print(table)
    return 0 if all(good for _, _, good in story.checks) else 1


def main() -> int:
    """Tells the story and prints what was checked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plant", choices=["mixed", "lost"], help="spoil one recorded answer")
    options = parser.parse_args()
    story = Story(Console())
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory(prefix="honed-demo-") as scratch:
        tell_story(story, Path(scratch) / "home")
    return verdict(story, options.plant)


if __name__ == "__main__":
    sys.exit(main())
