"""What a served head promises beside its answers, through a real server."""

from itertools import count

import pytest
from journeys import ask_until, examples, items, serving, taught

from honed import _rpcs
from honed_proto.v1 import inference_pb2


def predicted(client, model, *texts, **options):
    request = inference_pb2.PredictRequest(model=model, texts=texts, **options)
    answer = client._connection.call(_rpcs.PREDICT, request, None)
    return [item.prediction for item in answer.items]


def test_strange_texts_are_out_of_scope_once_there_are_labels_to_say_so(client, name):
    taught(client, name, examples(slice(1)))
    (early,) = predicted(client, name, "the moon is made of cheese")
    assert not early.out_of_scope
    client.submit_many(name, items(examples(slice(1, 8))), wait=True)
    usual = [text for text, _ in examples(slice(2, 8))]
    strange = ["la la la", "who won the football game", "sing me a song about the sea"]
    known = predicted(client, name, *usual)
    assert sum(one.out_of_scope for one in known) / len(known) < 0.2
    others = predicted(client, name, *strange)
    assert all(one.out_of_scope for one in others)
    assert min(one.out_of_scope_score for one in others) > max(
        one.out_of_scope_score for one in known if not one.out_of_scope
    )


def test_scores_are_the_same_after_a_restart_and_over_a_version(tmp_path):
    """By the stored head at first, and by the lane that is built anew once it learns again."""
    texts = ["la la la", "sing me a song about the sea", *(text for text, _ in examples(slice(2)))]
    with serving(tmp_path / "h") as server, server.client() as client:
        taught(client, "m", examples(slice(8)))
        before = predicted(client, "m", *texts)
        assert server.stop() == 0
    with serving(tmp_path / "h") as server, server.client() as client:
        again = predicted(client, "m", *texts)
        ack = client.submit(model="m", text="is it lost", label="track", wait=True)
        client.delete("m", [ack.feedback_id], requested_by="test")
        anew = predicted(client, "m", *texts)
        assert server.stop() == 0
    for after in (again, anew):
        assert [one.out_of_scope for one in after] == [one.out_of_scope for one in before]
        scores = [one.out_of_scope_score for one in after]
        assert scores == pytest.approx([one.out_of_scope_score for one in before], abs=1e-3)
    assert [one.out_of_scope for one in before[:2]] == [True, True]


def test_sets_hold_the_best_label_and_more_where_the_model_is_unsure(client, name):
    taught(client, name, examples(slice(1)))
    (early,) = predicted(client, name, "where is my lamp", include_set=True)
    assert list(early.prediction_set) == []
    client.submit_many(name, items(examples(slice(1, 8))), wait=True)
    texts = [text for text, _ in examples(slice(8))]
    for one in predicted(client, name, *texts, include_set=True, top_k=5):
        assert one.prediction_set[0] == one.scores[0].label
        assert list(one.prediction_set) == [s.label for s in one.scores][: len(one.prediction_set)]
    (plain,) = predicted(client, name, texts[0])
    assert list(plain.prediction_set) == []
    model = client.get_model(name)
    assert model.learning.labels == 120
    assert 0 <= model.learning.calibration_error < 0.2
    assert 0 < model.learning.brier < 0.5


def test_calibration_is_not_known_before_a_label_can_be_held_out(client, name):
    taught(client, name, [("where is my lamp", "track"), ("money back please", "refund")])
    learning = client.get_model(name).learning
    assert (learning.labels, learning.calibration_error, learning.brier) == (2, None, None)
    client.submit(model=name, text="has my lamp been shipped", label="track", wait=True)
    client.submit(model=name, text="I want a refund", label="refund", wait=True)
    learning = client.get_model(name).learning
    assert 0 < learning.calibration_error < 1
    assert 0 < learning.brier < 2


def test_sets_grow_when_audits_miss_them(client, name, server):
    taught(client, name, examples(slice(4)))
    before = server.server.catalogue.serving(name).head.conformal
    wrong = [(f"{text} please", "nonsense") for text, _ in examples(slice(4))]
    client.submit_many(name, items(wrong), wait=True)
    after = server.server.catalogue.serving(name).head.conformal
    assert after < before


def test_a_model_says_what_it_learns_with(client, name):
    taught(client, name, examples(slice(2)))
    (only,) = client.get_model(name).learning.experts
    assert (only.name, only.weight) == ("discriminant", 1.0)
    client.submit_many(name, items(examples(slice(2, 8))), wait=True)
    more = map(str, count())

    def voted() -> bool:
        """The regression is made in idle moments; audits that come after that vote."""
        client.submit(
            model=name,
            text=f"where is my order {next(more)}",
            label="track",
            wait=True,
            timeout_s=30,
        )
        return client.get_model(name).learning.experts[0].votes > 0

    ask_until(voted, timeout_s=60)
    learning = client.get_model(name).learning
    assert learning.features > 0
    assert learning.width > 0
    assert learning.ridge > 0
    assert [expert.name for expert in learning.experts] == ["discriminant", "regression"]
    assert sum(expert.weight for expert in learning.experts) == pytest.approx(1)
    assert 0 < learning.experts[0].log_loss < 5
