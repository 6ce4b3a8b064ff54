"""A support desk: a model learns from agents, meets a new topic, a vandal, and a wish to forget.

    python examples/customer_service.py

It uses the 22 topics of examples/support and ends with 1 if something is not as it should be.
"""

from pathlib import Path

import story

from honed import Client

SUPPORT = Path(__file__).resolve().parent / "support"


def main() -> None:
    """Tells the story."""
    options = story.options(__doc__, str(SUPPORT / "train.csv"))
    rows, trusted = story.read(options.data), story.read(SUPPORT / "anchor.csv")
    new_topic = story.read(SUPPORT / "new_label.csv")
    with Client(options.target) as client:
        model = story.new_model(client, "desk", options.encoder)
        story.tell(f"{model} starts empty. Agents label {len(rows)} texts; each is asked first:")
        story.learn(client, model, rows)
        right = story.share_right(story.ask(client, model, trusted), trusted)
        story.expect(
            f"{right:.0%} of {len(trusted)} texts that it never learned are right", right > 0.8
        )
        client.import_anchor(model, trusted)

        story.tell("A new topic comes up. One agent labels one text:")
        (text, topic), *others = new_topic
        client.submit(model=model, text=text, label=topic, submitter="ann", wait=True)
        known = story.share_right(story.ask(client, model, others), others)
        story.expect(
            f"{known:.0%} of {len(others)} other texts about it are recognised", known > 0.5
        )

        story.tell("Somebody labels texts at random:")
        labels = sorted({label for _, label in trusted})
        acks = [
            client.submit(model=model, text=text, label=wrong, submitter="vandal", wait=True)
            for (text, _), wrong in zip(trusted[:20], labels, strict=False)
        ]
        held = sum(ack.quarantined for ack in acks)
        still = story.share_right(story.ask(client, model, trusted), trusted)
        story.expect(
            f"{held} of 20 in quarantine, {still:.0%} of the trusted texts right",
            still > right - 0.05,
        )

        story.tell("A customer asks to be forgotten:")
        mine = [record.feedback_id for record in client.list_feedback(model, label=topic)]
        deletion = client.delete(model, mine, requested_by="privacy desk")
        gone = topic not in client.get_model(model).labels
        story.expect(f"forgotten, version {deletion.served_version} serves without {topic}", gone)


if __name__ == "__main__":
    main()
