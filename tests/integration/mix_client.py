"""A client process of the mix: asks until its input closes, writes what it saw."""

import random
import time
from pathlib import Path
from threading import Event
from time import monotonic

from client_processes import run
from journeys import examples
from mix_oracle import Seen

from honed import Client, HonedError, Prediction

TEXTS = [text for text, _ in examples(slice(4, 8))]
# Between two requests of a thread: learning shall have a share of the cores.
_PAUSE_S = 0.01


def ask(target: str, models: list[str], name: str, path: Path, stop: Event) -> None:
    """Asks single texts and small batches, and writes one line for each answer."""
    choose = random.Random(name)
    with Client(target) as client, path.open("w") as history:
        while not stop.is_set():
            model = choose.choice(models)
            texts = choose.sample(range(len(TEXTS)), choose.choice((1, 1, 3)))
            sent = monotonic()
            try:
                answers = client.predict_many(
                    model, [TEXTS[n] for n in texts], top_k=1000, logits=True
                )
            except HonedError as error:
                answers = [error] * len(texts)
            received = monotonic()
            for text, answer in zip(texts, answers, strict=True):
                history.write(recorded(name, sent, received, model, text, answer).to_json() + "\n")
            time.sleep(_PAUSE_S)


def recorded(
    name: str, sent: float, received: float, model: str, text: int, answer: Prediction | HonedError
) -> Seen:
    """One line of the history."""
    if isinstance(answer, HonedError):
        return Seen(name, sent, received, model, text, failure=repr(answer))
    return Seen(
        name, sent, received, model, text, answer.prediction_id, answer.version, answer.revision,
        answer.label_set_version, answer.logit_labels, answer.logits,
        tuple(score.probability for score in answer.scores),
    )  # fmt: skip


if __name__ == "__main__":
    run(ask)
