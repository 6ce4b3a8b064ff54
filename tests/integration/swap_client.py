"""A client process of the swap test: asks until its input closes, writes what it saw."""

import random
from pathlib import Path
from threading import Event
from time import monotonic

from client_processes import run
from swap_oracle import Seen

from honed import Client, HonedError, Prediction


def ask(target: str, models: list[str], name: str, path: Path, stop: Event) -> None:
    choose = random.Random(name)
    with Client(target) as client, path.open("w") as history:
        while not stop.is_set():
            model, count = choose.choice(models), choose.choice((1, 1, 2, 4))
            texts = ["word " * choose.randint(1, 12) for _ in range(count)]
            sent = monotonic()
            try:
                answers = client.predict_many(model, texts, top_k=3, logits=True, embedding=True)
            except HonedError as error:
                answers = [error]
            received = monotonic()
            for answer in answers:
                history.write(recorded(name, sent, received, model, answer).to_json() + "\n")


def recorded(
    name: str, sent: float, received: float, model: str, answer: Prediction | HonedError
) -> Seen:
    if isinstance(answer, HonedError):
        return Seen(name, sent, received, model, failure=repr(answer))
    return Seen(
        name, sent, received, model, answer.version, answer.revision,
        tuple(score.label for score in answer.scores),
        tuple(score.probability for score in answer.scores),
        answer.logits, answer.embedding[:2],
    )  # fmt: skip


if __name__ == "__main__":
    run(ask)
