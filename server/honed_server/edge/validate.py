"""What the server accepts: texts, labels, names and keys, checked before anything else is done."""

import re
import unicodedata
from difflib import get_close_matches

from google.protobuf.timestamp_pb2 import Timestamp

from honed_server.edge.errors import InvalidRequest

MAX_TEXT_BYTES = 64 * 1024
MAX_TEXTS = 256
MAX_ITEMS = 256
MAX_ANCHORS = 1000
MAX_TOP_K = 1_000_000
MAX_LABEL_BYTES = 256
MAX_ID_BYTES = 128
LEAST_WEIGHT, MAX_WEIGHT = 1e-6, 10.0  # lighter ones are lost in sums of heavy ones
_YEAR_10000 = 253_402_300_800

# C0 and C1 controls but for tab, line feed, carriage return and next line: they come from broken
# decoding or binary data, and would be dropped silently by the tokenizer.
_TEXT_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_ANY_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Characters of a name that is echoed in an error; longer ones are of no use to the reader.
_SHOWN = 64


def text(value: str, field: str) -> str:
    """Returns a text that can be classified; raises InvalidRequest naming `field` otherwise."""
    if fault := text_fault(value, field):
        raise fault
    return value


def text_fault(value: str, field: str) -> InvalidRequest | None:
    """Why a text cannot be classified; None if it can."""
    size = len(value.encode())
    if size > MAX_TEXT_BYTES:
        return InvalidRequest(
            f"{field} has {size} bytes, at most {MAX_TEXT_BYTES} are allowed; shorten it",
            reason="TEXT_TOO_LONG",
            field=field,
            metadata={"bytes": str(size), "max_bytes": str(MAX_TEXT_BYTES)},
        )
    if found := _TEXT_CONTROL.search(value):
        return InvalidRequest(
            f"{field} holds the control character U+{ord(found[0]):04X} at character "
            f"{found.start()}; remove it or decode the text correctly",
            reason="CONTROL_CHARACTER",
            field=field,
        )
    return None if _visible(value) else empty_text(field)


def empty_text(field: str) -> InvalidRequest:
    """The error for a text in which a person, or the tokenizer, sees nothing."""
    return InvalidRequest(
        f"{field} holds nothing to classify; send at least one visible character",
        reason="EMPTY_TEXT",
        field=field,
    )


def label(value: str, field: str) -> str:
    """Returns a label name without surrounding blanks to trip over; raises InvalidRequest."""
    if not _visible(value) or value != value.strip():
        raise InvalidRequest(
            f"{field} must be a label name without blanks around it",
            reason="BAD_LABEL",
            field=field,
        )
    return _short(value, field, MAX_LABEL_BYTES, "BAD_LABEL")


def identifier(value: str, field: str, *, required: bool = False) -> str:
    """Returns a key, id or submitter name; raises InvalidRequest."""
    if required and not value:
        raise InvalidRequest(f"{field} is required", reason="MISSING_FIELD", field=field)
    return _short(value, field, MAX_ID_BYTES, "BAD_IDENTIFIER")


def model_name(value: str, field: str) -> str:
    """Returns a name for a new model; raises InvalidRequest."""
    if not _MODEL_NAME.fullmatch(value):
        raise InvalidRequest(
            f"{field} must be 1 to 64 of a-z, 0-9, '.', '_', '-' and start with a letter or digit",
            reason="BAD_MODEL_NAME",
            field=field,
        )
    return value


def count(number: int, field: str, maximum: int) -> None:
    """Raises InvalidRequest unless 1 <= number <= maximum."""
    if not 1 <= number <= maximum:
        raise InvalidRequest(
            f"{field} holds {number} entries; send 1 to {maximum} in one call",
            reason="BAD_COUNT",
            field=field,
        )


def at_most(value: int, field: str, maximum: int) -> int:
    """Returns a number; raises InvalidRequest if it is larger."""
    if value > maximum:
        raise InvalidRequest(
            f"{field} is {value}; at most {maximum} is allowed", reason="TOO_LARGE", field=field
        )
    return value


def top_k(value: int) -> int:
    """Returns how many scores to send, 1 for the unset 0; raises InvalidRequest."""
    if value > MAX_TOP_K:
        raise InvalidRequest(
            f"top_k is {value}; ask for at most {MAX_TOP_K}", reason="BAD_TOP_K", field="top_k"
        )
    return value or 1


def weight(value: float, field: str) -> float:
    """Returns a weight of 0.000001 to 10, 1 for the unset 0; raises InvalidRequest."""
    if value == 0:
        return 1.0
    if not LEAST_WEIGHT <= value <= MAX_WEIGHT:
        raise InvalidRequest(
            f"{field} is {value}; it must be {LEAST_WEIGHT:f} to {MAX_WEIGHT:g}",
            reason="BAD_WEIGHT",
            field=field,
        )
    return value


def time(value: Timestamp, field: str) -> float:
    """Returns Unix seconds between 1970 and 9999; raises InvalidRequest."""
    seconds = value.seconds + value.nanos / 1e9
    if not 0 <= seconds < _YEAR_10000:
        raise InvalidRequest(
            f"{field} is {seconds:.0f} s; it must lie between 1970 and 9999",
            reason="BAD_TIME",
            field=field,
        )
    return seconds


def suggestion(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` when something known is close, else nothing."""
    close = get_close_matches(name, known, n=1) if len(name) <= MAX_LABEL_BYTES else ()
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(name: str) -> str:
    """A name in quotes as an error may echo it: cut where it gets out of hand."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")


def _visible(value: str) -> bool:
    """Whether a value has any character but blanks, controls, format characters and marks."""
    categories = (unicodedata.category(char) for char in value)
    return any(kind[0] not in "ZM" and kind not in ("Cc", "Cf") for kind in categories)


def _short(value: str, field: str, limit: int, reason: str) -> str:
    if len(value.encode()) > limit:
        raise InvalidRequest(
            f"{field} is over {limit} bytes; shorten it", reason=reason, field=field
        )
    if _ANY_CONTROL.search(value):
        raise InvalidRequest(
            f"{field} holds a control character; remove it", reason=reason, field=field
        )
    return value
