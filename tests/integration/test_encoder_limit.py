"""Models whose encoders part: a round that only some of a group pass, and how many may serve."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from journeys import answers, decisions, distance, teach, wait_for
from test_rounds import CLASSES, change, labels, taught, until

from checkpoints import save_encoder
from harness import running
from honed import Client, InvalidRequest


@pytest.fixture
def served(tmp_path: Path) -> Callable[[int], AbstractContextManager[Client]]:
    """Serves the same data folder, with a limit of encoders."""
    encoder = save_encoder(tmp_path / "small")

    @contextmanager
    def serve(max_encoders: int) -> Iterator[Client]:
        settings = {"example": False, "encoder": encoder, "precision": "fp32"}
        with (
            running(tmp_path / "home", max_encoders=max_encoders, **settings) as server,
            server.client() as client,
        ):
            yield client

    return serve


def encoders(client: Client) -> dict[str, str]:
    return {model.name: model.encoder_digest for model in client.list_models()}


def doubtful(client: Client, model: str) -> list[tuple[str, str]]:
    """Texts that a model is least sure of, with what it says: whatever differs is a loss."""
    odd = [f"a {word} of section {n}" for n in range(80) for word in ("fee", "claim", "work")]
    said = client.predict_many(model, odd, top_k=2)
    said.sort(key=lambda one: one.scores[0].probability - one.scores[1].probability)
    return [(one.text, one.label) for one in said[:60]]


def refusal(client: Client, model: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        client.start_round(model)
    assert refused.value.reason == "TOO_MANY_ENCODERS"
    return refused.value


def test_a_group_of_which_some_pass_splits_and_the_limit_holds(served):
    """What is refused stays where it was; then two encoders serve, and a third must be allowed."""
    with served(max_encoders=2) as client:
        for name in ("passes", "stays"):
            taught(client, name)
        assert wait_for(client, "stays", lambda one: one.settled)
        client.import_anchor("stays", doubtful(client, "stays"))
        before, texts = encoders(client), [text for text, _ in labels(200, 12)]
        stayed = answers(client, "stays", texts)
        assert len(set(before.values())) == 1
        ended = until(client, client.start_round("stays", seed=3), "done")
        assert (ended.state, ended.models) == ("done", ("passes", "stays")), ended.reason
        assert [decisions(client, name, "gate")[-1][0].outcome for name in ended.models] == [
            "candidate", "refused",
        ]  # fmt: skip
        client.promote("passes", ended.versions[0])
        assert encoders(client) == {"passes": ended.encoder_digest, "stays": before["stays"]}
        assert distance(answers(client, "stays", texts), stayed) < 1e-4
        for name in ended.models:  # both go on learning, each over its own encoder
            teach(client, name, [("the trademark of it", "trademark")])
            assert set(client.get_model(name).labels) == {*CLASSES, "trademark"}
        for name in ended.models:
            message = str(refusal(client, name))
            assert "max_encoders allows 2, 2 serve; raise it, or let models share" in message
    with served(max_encoders=3) as client:
        started = client.start_round("passes")
        assert started.models == ("passes",), "it is a group of its own now"
        client.cancel_round(started.round_id)


def test_rounds_under_way_count_as_encoders_that_they_may_add(served):
    """Else each of many models could start one while few encoders serve."""
    with served(max_encoders=2) as client:
        for name in ("first", "second"):
            taught(client, name)
            change(client, name, own_encoder=True)
        started = client.start_round("first")
        message = str(refusal(client, "second"))
        assert "max_encoders allows 2, 1 serve and rounds under way may add 1; wait" in message
        client.cancel_round(started.round_id)
        client.cancel_round(client.start_round("second").round_id)


def test_a_server_for_one_encoder_trains_none(served):
    with served(max_encoders=1) as client:
        taught(client, "only")
        assert "max_encoders allows 1, 1 serve" in str(refusal(client, "only"))
        assert client.list_rounds("only") == []
