"""Bad requests to every other call, and bytes that are no request at all."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journeys import teach
from refusals import METHODS, Expected, Wire, label, raised

from harness import RunningServer
from honed import Client, HonedError
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2

pytestmark = pytest.mark.timeout(120)

MODEL, GONE = "orders", "orders-deleted"
FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def wire(server: RunningServer, client: Client) -> Iterator[Wire]:
    client.create_model(MODEL)
    client.create_model(GONE)
    teach(client, MODEL, [("where is my order", "track"), ("I want my money back", "refund")])
    client.delete_model(GONE)
    wire = Wire(server.target, MODEL)
    yield wire
    wire.close()


@pytest.fixture(autouse=True)
def goes_on(wire: Wire, client: Client) -> Iterator[None]:
    yield
    assert client.predict(MODEL, "where is my order").label == "track"


INVALID, UNKNOWN, NOT_READY = "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"
CREATE, SUBMIT = "/honed.v1.Models/Create", "/honed.v1.Feedback/Submit"
LIST, DELETE = "/honed.v1.Feedback/List", "/honed.v1.Feedback/Delete"
ANCHOR, MODELS = "/honed.v1.Feedback/ImportAnchor", "/honed.v1.Models/"


def _create(**fields):
    return CREATE, models_pb2.CreateModelRequest(**{"name": "fresh", **fields})


def _versions(method, **fields):
    kind = {"Promote": models_pb2.PromoteRequest, "Rollback": models_pb2.RollbackRequest}[method]
    return MODELS + method, kind(**{"model": MODEL, **fields})


def _list(**fields):
    return LIST, feedback_pb2.ListFeedbackRequest(**{"model": MODEL, **fields})


def _delete(ids, model=MODEL, **fields):
    return DELETE, feedback_pb2.DeleteFeedbackRequest(model=model, feedback_ids=ids, **fields)


def _submit(items, model=MODEL):
    return SUBMIT, feedback_pb2.SubmitRequest(model=model, items=items)


def _anchor(*examples, model=MODEL):
    pairs = [feedback_pb2.AnchorExample(text=text, label=name) for text, name in examples]
    return ANCHOR, feedback_pb2.ImportAnchorRequest(model=model, examples=pairs)


REQUESTS = {
    "submit-nothing": (_submit([]), INVALID, "BAD_COUNT", "items", "send 1 to 256"),
    "submit-too-many": (_submit([label()] * 257), INVALID, "BAD_COUNT", "items", "send 1 to 256"),
    "submit-unknown": (_submit([label()], "ordres"), UNKNOWN, "UNKNOWN_MODEL", "model", "'orders'"),
    "submit-deleted": (_submit([label()], GONE), UNKNOWN, "UNKNOWN_MODEL", "model", "no model"),
    "delete-nothing": (_delete([]), INVALID, "BAD_COUNT", "feedback_ids", "send 1 to 256"),
    "delete-many": (_delete(["x"] * 257), INVALID, "BAD_COUNT", "feedback_ids", "send 1 to 256"),
    "delete-unknown-model": (_delete(["x"], "zebra"), UNKNOWN, "UNKNOWN_MODEL", "model", "List"),
    "delete-who": (
        _delete(["x"], requested_by="a\0"), INVALID, "BAD_IDENTIFIER", "requested_by", "remove"),
    "list-unknown": (_list(model="zebra"), UNKNOWN, "UNKNOWN_MODEL", "model", "Models.List"),
    "list-big-page": (_list(page_size=1001), INVALID, "BAD_PAGE_SIZE", "page_size", "most 1000"),
    "list-huge-page": (_list(page_size=2**32 - 1), INVALID, "BAD_PAGE_SIZE", "page_size", "1000"),
    **{
        f"list-token-{n}": (
            _list(page_token=token), INVALID, "BAD_PAGE_TOKEN", "page_token", "start without it")
        for n, token in enumerate(["x", "-1", "1.5", " 1", "\u0661", "9" * 19])
    },
    "anchor-nothing": (_anchor(), INVALID, "BAD_COUNT", "examples", "send 1 to 1000"),
    "anchor-many": (_anchor(*[("a", "b")] * 1001), INVALID, "BAD_COUNT", "examples", "1 to 1000"),
    "anchor-label": (
        _anchor(("a", "b"), ("a", "")), INVALID, "BAD_LABEL", "examples[1].label", "label name"),
    "anchor-unknown": (_anchor(("a", "b"), model="zebra"), UNKNOWN, "UNKNOWN_MODEL", "model", ""),
    **{
        f"create-name-{n}": (
            _create(name=name), INVALID, "BAD_MODEL_NAME", "name", "start with a letter or digit")
        for n, name in enumerate(["", "A", "a b", "../x", ".x", "a/b", "é", "a\n", "x" * 65])
    },
    "create-taken": (_create(name=MODEL), "ALREADY_EXISTS", "MODEL_EXISTS", "name", "another name"),
    "create-deleted": (
        _create(name=GONE), "ALREADY_EXISTS", "MODEL_EXISTS", "name", "is not free again"),
    "create-label": (_create(labels=["a", " "]), INVALID, "BAD_LABEL", "labels[1]", "label name"),
    "create-closed": (
        _create(closed_labels=True), INVALID, "MISSING_FIELD", "labels", "needs labels"),
    **{
        f"create-encoder-{n}": (
            _create(encoder_digest=digest),
            UNKNOWN, "UNKNOWN_ENCODER", "encoder_digest", "leave encoder_digest empty")
        for n, digest in enumerate(["0" * 64, "../..", "/etc", "a\0b", "x" * 10**6])
    },
    "get-unknown": (
        (MODELS + "Get", models_pb2.GetModelRequest(name="ordrs")),
        UNKNOWN, "UNKNOWN_MODEL", "name", "did you mean 'orders'?"),
    "remove-unknown": (
        (MODELS + "Delete", models_pb2.DeleteModelRequest(name="zebra")),
        UNKNOWN, "UNKNOWN_MODEL", "name", "Models.List"),
    "versions-unknown": (
        (MODELS + "ListVersions", models_pb2.ListVersionsRequest(model="zebra")),
        UNKNOWN, "UNKNOWN_MODEL", "model", "Models.List"),
    "watch-unknown": (
        (MODELS + "Watch", models_pb2.WatchRequest(model="zebra")),
        UNKNOWN, "UNKNOWN_MODEL", "model", "Models.List"),
    "pause-unknown": (
        (MODELS + "PauseAdaptation", models_pb2.PauseAdaptationRequest(model="zebra")),
        UNKNOWN, "UNKNOWN_MODEL", "model", "Models.List"),
    "resume-submitter": (
        (MODELS + "ResumeAdaptation",
         models_pb2.ResumeAdaptationRequest(model=MODEL, exclude_submitter="x" * 129)),
        INVALID, "BAD_IDENTIFIER", "exclude_submitter", "shorten it"),
    "promote-unknown": (
        _versions("Promote", version=2**64 - 1), UNKNOWN, "UNKNOWN_VERSION", "version", "see"),
    "promote-active": (
        _versions("Promote", version=2), NOT_READY, "NOT_A_CANDIDATE", None, "takes candidates"),
    "rollback-unknown": (
        _versions("Rollback", version=99), UNKNOWN, "UNKNOWN_VERSION", "version", "ListVersions"),
    "rollback-to-nothing": (
        _versions("Rollback", version=1), NOT_READY, "CANNOT_ROLL_BACK", None, "knows no label"),
    "rollback-who": (
        _versions("Rollback", requested_by="x" * 129),
        INVALID, "BAD_IDENTIFIER", "requested_by", "shorten it"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status", "reason", "field", "says"), REQUESTS.values(), ids=REQUESTS
)
def test_a_bad_request_names_its_field(wire, request_, status, reason, field, says):
    path, message = request_
    error = raised(lambda: wire.call(path, message.SerializeToString()))
    Expected(status, reason, field, says).check(error)


def test_unknown_feedback_is_reported_beside_what_was_deleted(wire, client):
    (ack,) = teach(client, MODEL, [("please forget this", "track")])
    left = client.delete(MODEL, ["f" * 32, ack.feedback_id, "x" * 100_000]).results
    assert left[1].state == "deleted"
    unknown = ("NOT_FOUND", "UNKNOWN_FEEDBACK")
    Expected(*unknown, "feedback_ids[0]", "Feedback.List").check(left[0])
    Expected(*unknown, "feedback_ids[2]", "has no label").check(left[2])


def test_a_page_holds_no_more_than_one_message_can_carry(wire, client):
    client.create_model("long-texts")
    client.pause("long-texts")
    text = "x" * 65_000
    for start in (0, 150):
        items = [
            {"idempotency_key": str(n), "text": f"{n} {text}"} for n in range(start, start + 150)
        ]
        assert all(result.ack.position for result in wire.submit(*items, model="long-texts"))
    records = list(client.list_feedback("long-texts", page_size=1000))
    assert [record.idempotency_key for record in records] == [str(n) for n in range(300)]


BROKEN = {
    "garbage": b"\xff\xff\xff\xff",
    "cut-off": b"\x0a\x50orders",
    "endless-group": b"\x0b" * 500,
    "overlong-varint": b"\x08" + b"\xff" * 11,
    "not-utf8": b"\x0a\x02\xc3\x28",
    "lone-surrogate": b"\x0a\x03\xed\xa0\x80",
    "no-tag": b"\x00",
}


@pytest.mark.parametrize("path", METHODS)
def test_bytes_that_are_no_request_are_the_clients_fault(wire, path):
    kind = METHODS[path].input_type
    first = next((f for f in kind.fields if f.number == 1), None)
    text_first = first is not None and first.type == first.TYPE_STRING
    for name, payload in BROKEN.items():
        if name in ("not-utf8", "lone-surrogate") and not text_first:
            continue  # ListModelsRequest has no field: there it is an unknown one
        error = raised(lambda payload=payload: wire.call(path, payload))
        says = f"not a valid {kind.full_name} message"
        Expected("INVALID_ARGUMENT", "MALFORMED_MESSAGE", None, says).check(error)


@pytest.mark.parametrize("broken", [b"\xed\xa0\x80", b"\xff", b"\xc0\x80"])
def test_texts_that_are_not_utf8_are_refused(wire, broken):
    inner = b"\x1a" + bytes([len(broken)]) + broken  # field 3, FeedbackItem.text
    label_bytes = b"\x12" + bytes([len(inner)]) + inner
    text_bytes = b"\x12" + bytes([len(broken)]) + broken  # field 2, PredictRequest.texts
    for path, payload in ((SUBMIT, label_bytes), ("/honed.v1.Inference/Predict", text_bytes)):
        error = raised(lambda path=path, payload=payload: wire.call(path, payload))
        Expected("INVALID_ARGUMENT", "MALFORMED_MESSAGE", None, "UTF-8").check(error)


def test_a_message_over_the_limit_is_refused_before_it_is_read(client):
    error = raised(lambda: client.predict_many(MODEL, ["x" * 90_000] * 200, timeout_s=30))
    assert (error.status, error.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


def test_a_call_that_does_not_exist_is_unimplemented(wire):
    for path in ("/honed.v1.Inference/Guess", "/honed.v9.Inference/Predict"):
        assert raised(lambda path=path: wire.call(path, b"")).status == "UNIMPLEMENTED"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\0" * 200, b"\0"])
def test_a_client_that_does_not_speak_grpc_is_hung_up_on(wire, server, data):
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(1024):
            pass


NO_FAULTS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"}


def outcome(wire: Wire, path: str, payload: bytes) -> str:
    try:
        wire.call(path, payload)
    except HonedError as error:
        return error.status
    return "OK"


def answers_or_blames_the_client(wire: Wire, path: str, payload: bytes) -> None:
    assert outcome(wire, path, payload) in NO_FAULTS


@FUZZ
@given(st.binary(max_size=300))
def test_no_bytes_are_the_servers_fault(wire, payload):
    answers_or_blames_the_client(wire, "/honed.v1.Inference/Predict", payload)
    answers_or_blames_the_client(wire, SUBMIT, payload)


def mostly(value: str) -> st.SearchStrategy[str]:
    return st.one_of(st.just(value), st.text(max_size=200))


ITEMS = st.builds(
    feedback_pb2.FeedbackItem,
    idempotency_key=st.text(max_size=140),
    prediction_id=st.just("") | st.text(max_size=40),
    text=mostly("where is my order"),
    label=mostly("track"),
    kind=st.integers(-5, 5) | st.integers(-(2**31), 2**31 - 1),
    submitter=st.just("") | st.text(max_size=140),
    weight=st.just(0.0) | st.floats(),
    event_time=st.none()
    | st.builds(
        lambda s, n: {"seconds": s, "nanos": n},
        st.integers(-(2**63), 2**63 - 1) | st.sampled_from([253_402_300_799, 0]),
        st.integers(-(2**31), 2**31 - 1),
    ),
    retracts=st.just("") | st.text(max_size=140),
)


@FUZZ
@given(st.lists(ITEMS, max_size=4), mostly("fuzzed"))
def test_no_label_is_the_servers_fault(wire, client, items, model):
    if "fuzzed" not in {known.name for known in client.list_models()}:
        client.create_model("fuzzed")
        client.pause("fuzzed")
    path, message = _submit(items, model)
    answers_or_blames_the_client(wire, path, message.SerializeToString())
    list(client.list_feedback("fuzzed", page_size=1000))


@FUZZ
@given(
    st.builds(
        inference_pb2.PredictRequest,
        model=mostly(MODEL),
        texts=st.lists(st.text(max_size=100), max_size=5),
        top_k=st.integers(0, 2**32 - 1),
        include_logits=st.booleans(),
        include_embedding=st.booleans(),
        request_id=st.text(max_size=140),
    )
)
def test_no_question_is_the_servers_fault(wire, message):
    path = "/honed.v1.Inference/Predict"
    answers_or_blames_the_client(wire, path, message.SerializeToString())
