"""Takes what names a person out of a text before it is stored. Pure; best effort, never anonymous.

It stands on the store path: labels, anchors and the prediction log are redacted, the text that is
asked about is not. What trains is what is stored, so that an audit sees what was learned.

Each find is replaced by its kind in brackets, `[email]`. Redacting twice changes nothing. Numbers
are checked, so that an order number is not taken for a card: cards by Luhn's digit (ISO/IEC 7812-1,
annex B), IBANs by their remainder of 97 (ISO 13616). Phone numbers have no check digit: a run of 8
to 15 digits counts that is written with a plus, a leading zero, brackets or gaps, as people write
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import accumulate, combinations
from typing import Literal, get_args

Redactable = Literal["email", "phone", "card", "iban"]
KINDS: tuple[Redactable, ...] = get_args(Redactable)

# Every repetition is bounded and every find begins at the begin of a word, so that no text of
# whatever size takes longer than in proportion.
_EMAIL = re.compile(
    r"(?<![\w.+'%-])[\w.+'%-]{1,64}(?:@|\s{0,3}[\[(]at[\])]\s{0,3})"
    r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}"
)
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}\b")
_CARD = re.compile(r"(?<![\w+])\d(?:[ -]?\d){12,22}(?!\w)")
_PHONE = re.compile(
    r"(?<![\w.,])(?:\+|00)\d(?:[ ().\-/]{0,2}\d){6,14}(?![\w])"  # international
    r"|(?<![\w.,+])\(?0\d{1,4}\)?(?:[ .\-/]{0,2}\d){5,10}(?![\w])"  # a leading zero
    r"|(?<![\w.,+])\(\d{2,4}\)(?:[ .\-/]?\d){6,9}(?![\w])"  # an area code in brackets
    r"|(?<![\w.,+])\d{3}[ .-]\d{3}[ .-]\d{4}(?![\w])"  # North America
    r"|(?<![\w.,+])1[ .-]\d{3}[ .-]\d{3}[ .-]\d{4}(?![\w])"
)
_DATE = re.compile(r"0?\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}")
_LEAST = 13  # digits of a card; an IBAN has 15 characters or more
_IBAN_LEAST, _IBAN_MOST = 15, 34


def redact(text: str, kinds: Iterable[Redactable]) -> str:
    """The text with all that is of these kinds replaced.

    Args:
        text: Any text.
        kinds: What to look for; their order does not matter.
    """
    wanted = set(kinds)
    # IBANs and cards come before phones, which are the least sure.
    for kind in ("email", "iban", "card", "phone"):
        if kind in wanted:
            text = _FINDERS[kind](text)
    return text


def has_marks(text: str) -> bool:
    """Whether something may have been taken out of a text."""
    return any(f"[{kind}]" in text for kind in KINDS)


def _emails(text: str) -> str:
    return _EMAIL.sub("[email]", text)


def _ibans(text: str) -> str:
    return _IBAN.sub(lambda found: _without(found[0], is_iban, "[iban]"), text)


def _cards(text: str) -> str:
    return _CARD.sub(lambda found: _without(found[0], is_card, "[card]"), text)


def _without(found: str, valid: Callable[[str], bool], mark: str) -> str:
    """A find with the longest run of its groups replaced that is valid: others may stand beside."""
    groups = re.split(r"([ -])", found)  # groups at even places, what is between them at odd ones
    sizes = list(accumulate((len(group) for group in groups[::2]), initial=0))
    runs = [
        (sizes[end] - sizes[begin], begin, end)
        for begin, end in combinations(range(len(sizes)), 2)
        if sizes[end] - sizes[begin] >= _LEAST
    ]
    for _, begin, end in sorted(runs, key=lambda run: -run[0]):
        if valid("".join(groups[2 * begin : 2 * end - 1])):
            return "".join([*groups[: 2 * begin], mark, *groups[2 * end - 1 :]])
    return found


def _phones(text: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        return found[0] if _DATE.fullmatch(found[0]) else "[phone]"

    return _PHONE.sub(replaced, text)


def is_card(number: str) -> bool:
    """Whether 13 to 19 digits, perhaps with blanks and hyphens, end in Luhn's check digit."""
    digits = [int(char) for char in number if char.isdigit()]
    if not 13 <= len(digits) <= 19 or not any(digits):
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return sum(doubled + digits[-1::-2]) % 10 == 0


def is_iban(number: str) -> bool:
    """Whether a number, perhaps with blanks and hyphens, is an IBAN: its remainder by 97 is 1."""
    plain = re.sub(r"[ -]", "", number).upper()
    if not _IBAN_LEAST <= len(plain) <= _IBAN_MOST or not plain.isascii() or not plain.isalnum():
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


_FINDERS: dict[str, Callable[[str], str]] = {
    "email": _emails, "iban": _ibans, "card": _cards, "phone": _phones,
}  # fmt: skip
