"""Many models over one encoder, asked unevenly, while several of them learn.

Popularity is Zipf's: the n-th model is asked 1 / n^s times as often as the first. On a server that
is started here the models are created first; the most popular ones get labels.
"""

from collections.abc import Sequence

import numpy as np

from honed_loadtest.arm import Arm, Scenario
from honed_loadtest.labelling import labelling
from honed_loadtest.load import Question
from honed_loadtest.servers import learn
from honed_loadtest.stage import Stage

# Rows that each created model learns first.
ROWS_EACH = 100
LEARNING_MODELS = 3
_QUESTIONS = 8192


def _arms(stage: Stage) -> Sequence[Arm]:
    options = stage.options
    models = stage.models if stage.server is None else _created(stage)
    questions = zipf_questions(models, stage.texts, options.zipf, options.seed)
    job = stage.job(stage.profile(), questions)
    if not stage.labels:
        return [Arm("mix", stage, job)]
    learning = models[:LEARNING_MODELS]
    beside = labelling(stage.client(), learning, stage.labels, options.labels_per_s)
    return [Arm("mix", stage, job, beside)]


def _created(stage: Stage) -> list[str]:
    client, labels = stage.client(), stage.labels
    names = [f"mix-{n + 1:03}" for n in range(stage.options.mix_models)]
    for n, name in enumerate(names):
        picks = np.random.default_rng([stage.options.seed, n]).choice(
            len(labels), min(ROWS_EACH, len(labels)), replace=False
        )
        learn(client, name, [labels[i] for i in picks])
    return names


def zipf_questions(
    models: Sequence[str], texts: Sequence[str], exponent: float, seed: int
) -> list[Question]:
    """Questions whose models are drawn by Zipf's law, the first the most popular."""
    weights = np.arange(1, len(models) + 1, dtype=np.float64) ** -exponent
    drawn = np.random.default_rng(seed).choice(len(models), _QUESTIONS, p=weights / weights.sum())
    return [(models[which], texts[n % len(texts)]) for n, which in enumerate(drawn)]


SCENARIO = Scenario("open loop over many models, several of which learn", _arms)
