"""A submitter whom all others contradict is named, and costs nothing; a setting takes it back."""

from journeys import (
    TOLERANCE,
    answers,
    ask_until,
    decisions,
    distance,
    examples,
    taught,
    teach,
    wait_for,
)

from harness import running

HONEST = examples(slice(6))
TEXTS = [text for text, _ in examples(slice(6, 8))]
WRONG = {
    "track": "refund",
    "refund": "broken",
    "broken": "price",
    "price": "stock",
    "stock": "track",
}
LIES = [(f"{text}, please", WRONG[label]) for text, label in HONEST[:36]]


def test_a_liar_is_named_and_without_influence_until_a_setting_says_otherwise(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", HONEST, submitter="ann")
        before = answers(client, "m", TEXTS)
        # The guard sees nothing: no anchor says otherwise.
        teach(client, "m", LIES, submitter="eve")
        ask_until(lambda: decisions(client, "m", "trust"))
        ((decision, numbers), *_) = decisions(client, "m", "trust")
        assert (decision.outcome, numbers["submitter"]) == ("distrusted", "eve")
        assert numbers["agreement_high"] < numbers["others_low"]
        position = client.get_model("m").log_position
        wait_for(client, "m", lambda one: one.revision >= position)
        assert distance(answers(client, "m", TEXTS), before) < TOLERANCE
        states = [record.state for record in client.list_feedback("m", submitter="eve")]
        assert set(states) == {"quarantined"}

        # What comes later does not count either, right or wrong.
        right, wrong = (HONEST[0][0] + "!", HONEST[0][1]), (HONEST[1][0] + "!", "stock")
        acks = teach(client, "m", [right, wrong], submitter="eve")
        assert [ack.quarantined for ack in acks] == [True, True]
        report = {one.submitter: one for one in client.suspects("m").submitters}
        assert not report["ann"].suspicious
        assert report["eve"].suspicious
        assert report["eve"].quarantined == len(LIES) + 2
        answered = client.predict("m", TEXTS[0])
        assert client.replay(answered.prediction_id).matches

    with running(home, example=False) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.revision >= one.log_position)
        answered = client.predict("m", TEXTS[0])
        acks = teach(client, "m", [(HONEST[2][0] + "!", "stock")], submitter="eve")
        assert acks[0].quarantined  # a restart forgets nobody

    believing = running(home, example=False, submitter_trust={"eve": 1.0})
    with believing as server, server.client() as client:
        wait_for(client, "m", lambda one: one.revision >= one.log_position)
        states = {record.state for record in client.list_feedback("m", submitter="eve")}
        assert states == {"active"}
        assert distance(answers(client, "m", TEXTS), before) > 0.01
        assert decisions(client, "m", "trust")[-1][0].outcome == "trusted"
        assert client.replay(answered.prediction_id).matches  # it was answered without them
