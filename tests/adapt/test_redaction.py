"""What redaction finds and what it leaves, on texts made up for it."""

import random
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from honed_adapt.feedback.redaction import KINDS, is_card, is_iban, redact

# The recall that docs/feedback.md states; kinds with a check digit are found exactly or not at all.
LEAST_RECALL = {"email": 0.99, "phone": 0.95, "card": 0.99, "iban": 0.99}
MOST_FALSE = 0.02
FRAMES = (
    "please write to {} today", "{}", "my new one is {}, thank you", "({})", "contact: {}.",
    "I sent it from {} and nobody answered", "is {} still right?", "{} is mine",
)  # fmt: skip


def email(rng: random.Random) -> str:
    name = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))
    joined = rng.choice(
        [name, f"{name}.{name[:3]}", f"{name}+shop", f"{name}_{rng.randint(1, 99)}"]
    )
    host = rng.choice(["example.org", "mail.example.co.uk", "bücher.example", "a-b.example.com"])
    return f"{joined}@{host}"


def phone(rng: random.Random) -> str:
    def digits(number: int) -> str:
        return "".join(rng.choices(string.digits, k=number))

    return rng.choice(
        [
            f"+49 {digits(3)} {digits(7)}", f"+44 20 {digits(4)} {digits(4)}", f"+1{digits(10)}",
            f"+1 ({digits(3)}) {digits(3)}-{digits(4)}", f"0{digits(3)}/{digits(7)}",
            f"0{digits(2)} {digits(4)} {digits(4)}", f"({digits(3)}) {digits(3)}-{digits(4)}",
            f"{digits(3)}-{digits(3)}-{digits(4)}", f"0033 {digits(1)} {digits(2)} {digits(2)} "
            f"{digits(2)} {digits(2)}", f"+91-{digits(5)}-{digits(5)}",
        ]
    )  # fmt: skip


def card(rng: random.Random) -> str:
    body = rng.choice(["4", "51", "37", "6011"])
    body += "".join(rng.choices(string.digits, k=15 - len(body)))
    number = next(body + digit for digit in string.digits if is_card(body + digit))
    groups = [number[at : at + 4] for at in range(0, 16, 4)]
    return rng.choice([number, " ".join(groups), "-".join(groups)])


def iban(rng: random.Random) -> str:
    country, length = rng.choice([("DE", 18), ("GB", 18), ("NL", 14), ("FR", 23), ("AT", 16)])
    body = "".join(rng.choices(string.digits, k=length))
    number = next(
        f"{country}{check:02d}{body}"
        for check in range(2, 99)
        if is_iban(f"{country}{check:02d}{body}")
    )
    groups = [number[at : at + 4] for at in range(0, len(number), 4)]
    return rng.choice([number, " ".join(groups), number.lower()])


MAKERS = {"email": email, "phone": phone, "card": card, "iban": iban}


def test_the_makers_cover_all_kinds():
    assert set(MAKERS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_is_what_the_documentation_states(kind):
    rng, found = random.Random(5), 0
    for _ in range(1000):
        secret = MAKERS[kind](rng)
        text = rng.choice(FRAMES).format(secret)
        redacted = redact(text, KINDS)
        found += secret not in redacted and f"[{kind}]" in redacted
        assert redact(redacted, KINDS) == redacted
    assert found / 1000 >= LEAST_RECALL[kind]


def test_what_is_nobodys_is_left_alone():
    rng, changed = random.Random(6), 0
    for _ in range(1000):
        number = "".join(rng.choices(string.digits[1:], k=rng.randint(1, 12)))
        text = rng.choice(
            [
                f"order {number} has not arrived", f"I paid {number}.50 for it",
                f"on {rng.randint(1, 28):02d}.{rng.randint(1, 12):02d}.20{rng.randint(10, 29)}",
                f"20{rng.randint(10, 29)}-{rng.randint(10, 12)}-{rng.randint(10, 28)} 10:30",
                f"model X{number} at 5 @ home", f"it says error 0x{number[:6]}", "see a.b.c @d",
                f"between {number[:3]} and {number[:4]} euros",
            ]
        )  # fmt: skip
        changed += redact(text, KINDS) != text
    assert changed / 1000 <= MOST_FALSE


def test_only_what_is_asked_for_goes_and_neighbours_stay():
    text = "ann@example.org, DE89 3704 0044 0532 0130 00 please, card 4111 1111 1111 1111 12/27"
    assert redact(text, ["iban"]) == text.replace("DE89 3704 0044 0532 0130 00", "[iban]")
    assert redact(text, ["card"]) == text.replace("4111 1111 1111 1111", "[card]")
    assert redact(text, []) == text


def test_a_wrong_check_digit_is_no_card_and_no_iban():
    assert is_card("4111 1111 1111 1111")
    assert not is_card("4111 1111 1111 1112")
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB83 WEST 1234 5698 7654 32")


@given(st.text(st.sampled_from("a1@.- +()[]0é"), max_size=60))
def test_redacting_twice_changes_nothing(text):
    once = redact(text, KINDS)
    assert redact(once, KINDS) == once


@pytest.mark.parametrize(
    "piece", ["a", "a.", "1", "1 ", "0", "+1", "a@", "(0", "DE12 ", "a [at] ", " "]
)
def test_the_longest_texts_take_no_time(piece):
    started = time.thread_time()
    redact(piece * (65_536 // len(piece)), KINDS)
    assert time.thread_time() - started < 2
