"""Every status of a server arrives as one typed error with its details."""

import pickle

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

import honed
from clients.scripted import Fault, ScriptedServer, status
from honed import Client, HonedError

KINDS = {
    "INVALID_ARGUMENT": honed.InvalidRequest,
    "FAILED_PRECONDITION": honed.InvalidRequest,
    "OUT_OF_RANGE": honed.InvalidRequest,
    "NOT_FOUND": honed.NotFound,
    "ALREADY_EXISTS": honed.Conflict,
    "ABORTED": honed.Conflict,
    "RESOURCE_EXHAUSTED": honed.Overloaded,
    "DEADLINE_EXCEEDED": honed.DeadlineExceeded,
    "UNAVAILABLE": honed.Unavailable,
    "CANCELLED": honed.Unavailable,
    "INTERNAL": honed.ServerError,
    "UNKNOWN": honed.ServerError,
    "DATA_LOSS": honed.ServerError,
    "UNIMPLEMENTED": honed.ServerError,
    "PERMISSION_DENIED": honed.ServerError,
}


@pytest.mark.parametrize("bare", [False, True], ids=["with details", "bare"])
@pytest.mark.parametrize("code", KINDS)
def test_each_status_has_its_kind(
    server: ScriptedServer, client: Client, code: str, bare: bool
) -> None:
    server.on("Models.Promote", Fault(status(code, "no", "SOME_REASON"), bare))
    expected = honed.ServerTooOld if code == "UNIMPLEMENTED" and bare else KINDS[code]
    with pytest.raises(expected) as caught:
        client.promote("support", 3)
    assert type(caught.value) is expected
    assert caught.value.status == code
    if not bare:
        assert (str(caught.value), caught.value.reason) == ("no", "SOME_REASON")


def test_reason_facts_violations_and_retry_hint_come_along(
    server: ScriptedServer, client: Client
) -> None:
    info = ErrorInfo(reason="TEXTS_INVALID", domain="honed", metadata={"model": "support"})
    broken = BadRequest.FieldViolation(field="texts[1]", description="is empty")
    hint = RetryInfo(retry_delay=Duration(nanos=250_000_000))
    fault = status(
        "INVALID_ARGUMENT", "a text is wrong", "", info, BadRequest(field_violations=[broken]), hint
    )
    server.on("Inference.Predict", Fault(fault))
    with pytest.raises(honed.InvalidRequest) as caught:
        client.predict("support", "")
    error = caught.value
    assert error.reason == "TEXTS_INVALID"
    assert error.details == {"model": "support"}
    assert error.violations == {"texts[1]": "is empty"}
    assert error.retry_after_s == 0.25


def test_details_of_another_domain_are_not_taken_for_ours(
    server: ScriptedServer, client: Client
) -> None:
    foreign = ErrorInfo(reason="QUOTA", domain="proxy.example", metadata={"a": "b"})
    server.on("Models.Get", Fault(status("NOT_FOUND", "gone", "", foreign)))
    with pytest.raises(honed.NotFound) as caught:
        client.get_model("support")
    assert (caught.value.reason, caught.value.details) == ("NOT_FOUND", {})


def test_a_server_that_is_away_is_named_with_what_to_do() -> None:
    server = ScriptedServer()
    server.stop()
    with Client(server.target) as client, pytest.raises(honed.Unavailable) as caught:
        client.predict("support", "hello")
    assert caught.value.reason == "SERVER_UNREACHABLE"
    assert server.target in str(caught.value)
    assert "honed serve" in str(caught.value)


def test_errors_survive_pickling() -> None:
    error = honed.Overloaded("full", "QUEUE_FULL", "RESOURCE_EXHAUSTED", {"a": "b"}, {}, 1.5)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert type(again) is honed.Overloaded
    assert vars(again) == vars(error)


def test_all_kinds_are_one_family() -> None:
    assert all(issubclass(kind, HonedError) for kind in KINDS.values())
