"""Submits labels until it is killed; prints the number of each after its acknowledgement.

Run as a program by adapt/test_feedback.py: `feedback_writer.py PATH FIRST_NUMBER`.
"""

import sys
from pathlib import Path

from honed_adapt.feedback.log import Ack, FeedbackLog, Kind, NewFeedback

GROUP = 8


def label(number: int) -> NewFeedback:
    return NewFeedback("m", f"key-{number}", f"text {number}", f"label {number % 7}", Kind.AUDIT)


def main() -> None:
    log, number = FeedbackLog(Path(sys.argv[1])), int(sys.argv[2])
    while True:
        group = [(n, log.submit([label(n)])) for n in range(number, number + GROUP)]
        for submitted, done in group:
            (result,) = done.result()
            assert isinstance(result, Ack), "no key is used twice"
            sys.stdout.write(f"{submitted} {result.position}\n")
            sys.stdout.flush()
        number += GROUP


if __name__ == "__main__":
    main()
