"""A whole server on the GPU's engine, run on the CPU: its answers are those of the CPU's engine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from journeys import answers, distance, examples, taught, teach

from checkpoints import save_classifier
from harness import RunningServer, running
from honed_server.encoders.cuda.device import torch_device
from honed_server.encoders.cuda.graphs import Direct
from oracle import real_texts

TEXTS = [text for text in real_texts() if text]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[RunningServer]:
    home, on = tmp_path_factory.mktemp("torch"), torch_device([Direct], ["fp32"], 256)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("TRITON_INTERPRET", raising=False)  # a thousand times as slow
        with running(home, on, example=False, encoder=folder) as server:
            yield server


def test_answers_are_those_of_the_cpu_engine(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    with (
        running(tmp_path, example=False, encoder=folder, adapt=False) as known,
        known.client() as other,
        server.client() as client,
    ):
        for each in (client, other):
            each.import_model("own", folder)
        with ThreadPoolExecutor(8) as threads:  # requests share batches
            asked = [threads.submit(client.predict, "own", text) for text in TEXTS * 3]
            labels = [each.result().label for each in asked]
        wanted = other.predict_many("own", TEXTS, logits=True, embedding=True)
        assert labels == [prediction.label for prediction in wanted] * 3
        assert distance(answers(client, "own", TEXTS), answers(other, "own", TEXTS)) < 1e-4
        got = client.predict_many("own", TEXTS, logits=True, embedding=True)
        for mine, theirs in zip(got, wanted, strict=True):
            np.testing.assert_allclose(mine.logits, theirs.logits, atol=1e-4)
            np.testing.assert_allclose(mine.embedding, theirs.embedding, atol=1e-4)


def test_it_learns_and_serves_each_revision(server: RunningServer) -> None:
    pairs = examples(slice(6))
    with server.client() as client:
        served = []
        for learn, half in ((taught, pairs[::2]), (teach, pairs[1::2])):
            learn(client, "new", half)
            served.append(client.predict("new", pairs[0][0]))
        assert served[0].revision < served[1].revision
        assert client.get_model("new").precision == "fp32"
        replayed = client.replay(served[1].prediction_id)
        assert replayed.matches
