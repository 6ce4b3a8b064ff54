"""Chinese: 37 attributes that people ask about in films, music and travel.

    python examples/chinese.py --data kdconv_zh/train.csv [--encoder FOLDER]

KdConv (Apache-2.0, see examples/README.md). The encoder that Honed brings is made for English:
it reads Chinese character by character and knows only some. This example says what that costs,
and `--encoder` takes a folder of your own instead. Ends with 1 if something is not as it should be.
"""

import story

from honed import Client

LEARNED, HELD_OUT = 600, 300
SURE = 0.8


def main() -> None:
    """Tells the story."""
    options = story.options(__doc__, "kdconv_zh/train.csv")
    rows = story.read(options.data)
    learned, held_out = rows[:LEARNED], rows[LEARNED : LEARNED + HELD_OUT]
    guess = (
        max(map([label for _, label in learned].count, {label for _, label in learned})) / LEARNED
    )
    with Client(options.target) as client:
        model = story.new_model(client, "zh", options.encoder)
        story.tell(f"{model} starts empty. {LEARNED} sentences are labelled:")
        story.learn(client, model, learned)

        story.tell(
            f"{HELD_OUT} sentences that it never learned (always the commonest label: {guess:.0%}):"
        )
        answers = story.ask(client, model, held_out)
        right = story.share_right(answers, held_out)
        story.expect(f"{right:.0%} are right", right > 5 * guess)
        share, precision = story.above(answers, held_out, SURE)
        story.expect(
            f"{precision:.0%} of the {share:.0%} with a probability of {SURE} or more are right",
            precision > right,
        )

        story.tell("A label that it has never heard of, from one sentence:")
        client.submit(model=model, text="这家餐厅的菜好吃吗", label="美食/口味", wait=True)
        answer = client.predict(model, "那家餐厅的菜味道怎么样")
        story.expect(f"{answer.label} {answer.probability:.0%}", answer.label == "美食/口味")


if __name__ == "__main__":
    main()
