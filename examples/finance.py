"""A bank: 77 kinds of questions, answered alone only where the model is sure.

    python examples/finance.py --data banking77/train.csv

Banking77 (CC BY 4.0, see examples/README.md). Ends with 1 if something is not as it should be.
"""

import story

from honed import Client

LEARNED, HELD_OUT = 800, 300
SURE = 0.8


def main() -> None:
    """Tells the story."""
    options = story.options(__doc__, "banking77/train.csv")
    rows = story.read(options.data)
    learned, held_out = rows[:LEARNED], rows[LEARNED : LEARNED + HELD_OUT]
    with Client(options.target) as client:
        model = story.new_model(client, "bank", options.encoder)
        story.tell(f"{model} starts empty. {LEARNED} questions arrive and are labelled later:")
        story.learn(client, model, learned)

        story.tell(f"{HELD_OUT} questions that it never learned:")
        answers = story.ask(client, model, held_out)
        right = story.share_right(answers, held_out)
        story.expect(f"{right:.0%} are right", right > 0.75)
        share, precision = story.above(answers, held_out, SURE)
        story.expect(
            f"{precision:.0%} of the {share:.0%} with a probability of {SURE} or more are right",
            share > 0.5 and precision > 0.9,
        )
        story.tell(f"  so {1 - share:.0%} go to a person, who is right and whose label is learned")

        story.tell("An auditor asks what stood behind an answer:")
        replay = client.replay(answers[0].prediction_id)
        story.expect(
            f"recomputed from {replay.labels_learned} labels: {replay.label}, "
            f"difference {replay.difference:.0e}",
            replay.matches,
        )


if __name__ == "__main__":
    main()
