"""Whatever a client sends, it gets one clear error, and the server goes on answering."""

from collections.abc import Iterator
from typing import Any

import pytest
from journeys import teach
from refusals import Expected, Wire, raised

from harness import RunningServer
from honed import Client, HonedError
from honed._status import error_from_status

pytestmark = pytest.mark.timeout(120)

MODEL, EMPTY, CLOSED, GONE = "cards", "cards-untaught", "cards-closed", "cards-deleted"
KIB_64 = 64 * 1024


@pytest.fixture(scope="module")
def wire(server: RunningServer, client: Client) -> Iterator[Wire]:
    for name in (MODEL, EMPTY, GONE):
        client.create_model(name)
    client.create_model(CLOSED, labels=["card", "cash"], closed_labels=True)
    teach(client, MODEL, [("my card was stolen", "card"), ("the machine kept my money", "cash")])
    client.delete_model(GONE)
    wire = Wire(server.target, MODEL)
    yield wire
    wire.close()


@pytest.fixture(autouse=True)
def goes_on(wire: Wire, client: Client) -> Iterator[None]:
    """After each test: the server answers, and no refused label was recorded."""
    yield
    assert client.predict(MODEL, "my card was stolen").label == "card"
    assert "never" not in {record.idempotency_key for record in client.list_feedback(MODEL)}


BAD_TEXTS = {
    "empty": ("", "EMPTY_TEXT", "at least one visible character"),
    "spaces": (" \t\r\n\u00a0\u3000 ", "EMPTY_TEXT", "at least one visible character"),
    "zero-width": ("\u200b\u200d\ufeff\u2060", "EMPTY_TEXT", "at least one visible character"),
    "marks-only": ("\u0301\ufe0f", "EMPTY_TEXT", "at least one visible character"),
    "next-line": ("\x85\x85", "EMPTY_TEXT", "at least one visible character"),
    "nul": ("a\x00b", "CONTROL_CHARACTER", "U+0000 at character 1; remove it"),
    "over-long": ("a" * (KIB_64 + 1), "TEXT_TOO_LONG", "shorten it"),
    "over-long-in-bytes": ("é" * (KIB_64 // 2 + 1), "TEXT_TOO_LONG", "65538 bytes"),
    "one-megabyte": ("word " * 200_000, "TEXT_TOO_LONG", "shorten it"),
    "one-megabyte-word": ("w" * 1_000_000, "TEXT_TOO_LONG", "shorten it"),
}


@pytest.mark.parametrize(("text", "reason", "says"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_bad_text_is_refused_wherever_it_is_sent(wire, client, text, reason, says):
    expected = Expected("INVALID_ARGUMENT", reason, "texts[0]", says)
    expected.check(raised(lambda: client.predict(MODEL, text)))
    if text:
        in_feedback = Expected("INVALID_ARGUMENT", reason, "items[0].text", says)
        in_feedback.check(wire.refused({"text": text}))
    in_anchor = Expected("INVALID_ARGUMENT", reason, "examples[0].text", says)
    in_anchor.check(raised(lambda: client.import_anchor(MODEL, [(text, "card")])))


def test_a_text_that_the_tokenizer_does_not_see_is_refused(client):
    error = raised(lambda: client.predict(MODEL, "\ue000"))
    Expected("INVALID_ARGUMENT", "EMPTY_TEXT", "texts[0]", "visible character").check(error)


def test_every_control_character_but_the_line_breaks_is_refused_by_its_number(client):
    controls = [chr(n) for n in [*range(0x20), *range(0x7F, 0xA0)]]
    results = client.predict_many(MODEL, [f"a{char}b" for char in controls])
    refused = {
        char: result.message
        for char, result in zip(controls, results, strict=True)
        if isinstance(result, HonedError) and result.reason == "CONTROL_CHARACTER"
    }
    assert set(controls) - refused.keys() == set("\t\n\r\x85")
    assert all(f"U+{ord(char):04X}" in message for char, message in refused.items())


@pytest.mark.parametrize(
    ("text", "tokens", "truncated"),
    [
        ("where is my card " * 100, 256, True),
        ("a" * KIB_64, 3, False),
        ("ab " * (KIB_64 // 3), 256, True),
        ("中" * (KIB_64 // 3), 256, True),
        ("a" + "\u0301" * 30_000, 3, False),
        (("a" + "\u0300\u0301\u0323" * 10) * 1_000, 3, False),
        ("\u202e drac", None, False),
        ("\U0001fae9", 3, False),
    ],
    ids=["400-words", "64-kib", "64-kib-words", "64-kib-han", "marks", "zalgo", "rtl", "emoji"],
)
def test_odd_texts_are_answered_and_truncation_is_reported(client, text, tokens, truncated):
    answer = client.predict(MODEL, text, top_k=1_000_000)
    assert (answer.truncated, len(answer.scores)) == (truncated, 2)
    assert tokens in (None, answer.num_tokens)


PREDICT = {
    "unknown-model": ({"model": "crads"}, "NOT_FOUND", "UNKNOWN_MODEL", "model", "'cards'?"),
    "no-such-model": ({"model": "zebra"}, "NOT_FOUND", "UNKNOWN_MODEL", "model", "Models.List"),
    "no-model": ({"model": ""}, "NOT_FOUND", "UNKNOWN_MODEL", "model", "Models.List"),
    "huge-model": ({"model": "中" * 10**6}, "NOT_FOUND", "UNKNOWN_MODEL", "model", "Models.List"),
    "deleted-model": ({"model": GONE}, "NOT_FOUND", "UNKNOWN_MODEL", "model", "no model"),
    "no-texts": ({"texts": []}, "INVALID_ARGUMENT", "BAD_COUNT", "texts", "send 1 to 256"),
    "many-texts": ({"texts": ["a"] * 257}, "INVALID_ARGUMENT", "BAD_COUNT", "texts", "1 to 256"),
    "top-k": ({"top_k": 10**6 + 1}, "INVALID_ARGUMENT", "BAD_TOP_K", "top_k", "at most 1000000"),
    "long-request-id": (
        {"request_id": "x" * 129}, "INVALID_ARGUMENT", "BAD_IDENTIFIER", "request_id", "128 bytes"
    ),
    "bad-request-id": (
        {"request_id": "a\nb"}, "INVALID_ARGUMENT", "BAD_IDENTIFIER", "request_id", "remove it"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "status", "reason", "field", "says"), PREDICT.values(), ids=PREDICT
)
def test_a_bad_prediction_request_names_its_field(wire, fields, status, reason, field, says):
    Expected(status, reason, field, says).check(raised(lambda: wire.predict(**fields)))


def test_good_texts_are_answered_beside_bad_ones(client):
    texts = ["my card was stolen", "", "the machine kept my money", "a\x1bb", "x" * (KIB_64 + 1)]
    first, empty, third, control, long = client.predict_many(MODEL, texts)
    assert (first.label, third.label) == ("card", "cash")
    found = [(e.reason, *e.violations) for e in (empty, control, long)]
    assert found == [
        ("EMPTY_TEXT", "texts[1]"),
        ("CONTROL_CHARACTER", "texts[3]"),
        ("TEXT_TOO_LONG", "texts[4]"),
    ]


def test_a_model_that_has_learned_nothing_says_what_to_do(client):
    error = raised(lambda: client.predict(EMPTY, "hello"))
    Expected("FAILED_PRECONDITION", "NOTHING_LEARNED", None, "submit feedback").check(error)


def _label_table() -> dict[str, tuple[dict[str, Any], str, str | None, str]]:
    """Fields, reason, wrong field below the item, and part of the message."""
    weights = {
        f"weight-{w}": ({"weight": w}, "BAD_WEIGHT", "weight", "0.000001 to 10")
        for w in (float("nan"), float("inf"), float("-inf"), -1.0, 10.01, -5e-324, 1e-17, 9e-7)
    }
    times = {
        f"time-{s}": ({"event_time": {"seconds": s}}, "BAD_TIME", "event_time", "1970 and 9999")
        for s in (-1, 253_402_300_800, 2**63 - 1, -(2**63))
    }
    labels = {
        f"label-{name}": ({"label": value}, "BAD_LABEL", "label", says)
        for name, value, says in [
            ("missing", "", "must be a label name"),
            ("blank", "   ", "must be a label name"),
            ("padded", "card ", "without blanks"),
            ("zero-width", "\u200b\u2060", "must be a label name"),
            ("control", "ca\x07rd", "control character"),
            ("line-break", "ca\nrd", "control character"),
            ("long", "é" * 129, "over 256 bytes"),
        ]
    }
    shares = {
        f"shares-{name}": ({"label": "", "shares": [_share(*one) for one in some]}, *expected)
        for name, some, *expected in [
            ("short", [("a", 0.5), ("b", 0.4)], "BAD_SHARES", "shares", "sum to 0.9"),
            ("long", [("a", 0.5), ("b", 0.50001)], "BAD_SHARES", "shares", "must sum to 1"),
            ("twice", [("a", 0.5), ("a", 0.5)], "BAD_SHARES", "shares", "names 'a' twice"),
            ("none", [("a", 1.0), ("b", 0.0)], "BAD_SHARES", "shares[1].share", "0.000001 to 1"),
            ("minus", [("a", -0.5), ("b", 1.0)], "BAD_SHARES", "shares[0].share", "is -0.5"),
            ("nan", [("a", float("nan"))], "BAD_SHARES", "shares[0].share", "is nan"),
            ("many", [(f"l{n}", 1 / 17) for n in range(17)], "BAD_SHARES", "shares", "at most 16"),
            ("unnamed", [("a", 0.5), ("", 0.5)], "BAD_LABEL", "shares[1].label", "a label name"),
        ]
    }
    identifiers = {
        f"{field}-long": ({field: "é" * 65}, "BAD_IDENTIFIER", field, "over 128 bytes")
        for field in ("idempotency_key", "submitter", "prediction_id")
    }
    return {
        **weights, **times, **labels, **shares, **identifiers,
        "label-and-shares": (
            {"label": "card", "shares": [_share("cash", 1.0)]},
            "AMBIGUOUS_LABEL", "shares", "send one of them",
        ),
        "no-key": ({"idempotency_key": ""}, "MISSING_FIELD", "idempotency_key", "is required"),
        "key-control": ({"idempotency_key": "a\0"}, "BAD_IDENTIFIER", "idempotency_key", "remove"),
        "no-kind": ({"kind": 0}, "MISSING_FIELD", "kind", "must be CORRECTION"),
        "future-kind": ({"kind": 99}, "BAD_KIND", "kind", "must be CORRECTION"),
        "negative-kind": ({"kind": -1}, "BAD_KIND", "kind", "must be CORRECTION"),
        "no-text": ({"text": ""}, "MISSING_FIELD", None, "neither a text nor a prediction_id"),
        "retracts-nothing": ({"kind": 4}, "MISSING_FIELD", "retracts", "is required"),
    }  # fmt: skip


def _share(label: str, share: float) -> dict[str, Any]:
    return {"label": label, "share": share}


LABELS = _label_table()


@pytest.mark.parametrize(("fields", "reason", "field", "says"), LABELS.values(), ids=LABELS)
def test_a_bad_label_names_its_field(wire, fields, reason, field, says):
    path = f"items[0].{field}" if field else "items[0]"
    Expected("INVALID_ARGUMENT", reason, path, says).check(wire.refused(fields))


def test_a_closed_model_suggests_the_label_that_was_meant(wire):
    error = wire.refused({"label": "crad"}, model=CLOSED)
    Expected("INVALID_ARGUMENT", "UNKNOWN_LABEL", "items[0].label", "mean 'card'?").check(error)
    shared = {"label": "", "shares": [_share("cash", 0.5), _share("crad", 0.5)]}
    error = wire.refused(shared, model=CLOSED)
    at = "items[0].shares[1].label"
    Expected("INVALID_ARGUMENT", "UNKNOWN_LABEL", at, "mean 'card'?").check(error)


def test_a_prediction_id_must_fit_its_model_and_text(wire, client):
    known = client.predict(MODEL, "where is my card").prediction_id
    by_id = {"prediction_id": known, "text": ""}
    assert wire.submit({**by_id, "idempotency_key": "by-id"})[0].ack.position
    error = wire.refused({"prediction_id": known, "text": "something else"})
    Expected("INVALID_ARGUMENT", "TEXT_MISMATCH", "items[0].text", "leave one").check(error)
    error = wire.refused(by_id, model=EMPTY)
    path = "items[0].prediction_id"
    Expected("INVALID_ARGUMENT", "MODEL_MISMATCH", path, "answer of model 'cards'").check(error)
    error = wire.refused({"prediction_id": "0" * 32, "text": ""})
    Expected("NOT_FOUND", "UNKNOWN_PREDICTION", path, "send the text along").check(error)
    with_text = {"prediction_id": "0" * 32, "idempotency_key": "unknown-id"}
    assert wire.submit(with_text)[0].ack.position


def test_what_is_not_there_cannot_be_retracted(wire):
    error = wire.refused({"kind": 4, "text": "", "label": "", "retracts": "f" * 32})
    Expected("NOT_FOUND", "UNKNOWN_FEEDBACK", "items[0].retracts", "Feedback.List").check(error)


def test_keys_conflict_only_over_other_content(wire, client):
    same = {"idempotency_key": "twin"}
    results = wire.submit(same, same, {**same, "label": "cash"}, {"idempotency_key": "own"})
    first, second, third, fourth = results
    assert (first.ack.already_recorded, second.ack.already_recorded) == (False, True)
    assert first.ack.feedback_id == second.ack.feedback_id
    assert fourth.ack.position > first.ack.position
    conflict = ("ALREADY_EXISTS", "KEY_CONFLICT", "items[2].idempotency_key", "another key")
    Expected(*conflict).check(error_from_status(third.error))
    client.delete(MODEL, [first.ack.feedback_id, fourth.ack.feedback_id])
    error = wire.refused(same)
    path = "items[0].idempotency_key"
    Expected("ALREADY_EXISTS", "FEEDBACK_DELETED", path, "another key").check(error)


def test_good_labels_are_recorded_beside_bad_ones(wire):
    good = [{"idempotency_key": f"beside-{n}"} for n in range(2)]
    first, bad, last = wire.submit(good[0], {"label": ""}, good[1])
    assert last.ack.position > first.ack.position > 0
    assert list(error_from_status(bad.error).violations) == ["items[1].label"]
