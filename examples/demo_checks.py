"""What the demo remembers, and what it checks about every answer that it got."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from threading import Lock
from time import monotonic

from rich.console import Console

from honed import Prediction

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
    began: float = field(default_factory=monotonic)
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
    return sum(not same(group[0], other) for group in groups.values() for other in group)


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two answers to one text are the same."""
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
        # Beside the true answer, which stands first, so that just this one differs.
        story.answers.append(replace(answer, client=-1, prediction=mixed))
        story.sent[-1] = 1
