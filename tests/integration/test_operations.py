"""What an operator sees: health, reflection, metrics, logs, and how the process starts and ends."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import psutil
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from journeys import teach
from prometheus_client.parser import text_string_to_metric_families
from refusals import SERVICES

from harness import ServerProcess
from honed import Client, FeedbackKind, HonedError
from honed_proto.v1 import inference_pb2

pytestmark = pytest.mark.timeout(120)

# Planted in every text that is sent: it must never come out by another door.
MARKER = "xyzzy-plugh"
MODEL, UNTAUGHT = "m", "untaught"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("operations") / "home"
    # An endless drain: a stream that is still open at the end would hold the process for ever.
    process = ServerProcess(home, "--no-example", "--drain-ms", "600000")
    process.home = home
    yield process
    if process.process.poll() is None:
        process.stop()


@pytest.fixture(scope="module")
def client(process: ServerProcess) -> Iterator[Client]:
    with process.client() as client:
        client.create_model(UNTAUGHT)
        client.create_model(MODEL)
        teach(client, MODEL, [(f"{MARKER} where is it", "track"), (f"{MARKER} money", "refund")])
        yield client


@pytest.fixture
def channel(process: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(process.target) as channel:
        yield channel


def page(process: ServerProcess, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{process.http_port}{path}") as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def series(process: ServerProcess) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values."""
    _, text = page(process, "/metrics")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_is_reported_for_the_server_and_for_each_model(client, channel):
    health = health_pb2_grpc.HealthStub(channel)

    def status(name: str) -> int:
        return health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status

    for name in ("", MODEL, *(service.full_name for service in SERVICES)):
        assert status(name) == SERVING
    assert status(UNTAUGHT) == NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        status("zebra")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_health_watch_sees_a_model_learn_and_leave(client, channel):
    client.create_model("watched")
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service="watched"), timeout=20
    )
    assert next(watch).status == NOT_SERVING
    teach(client, "watched", [(f"{MARKER} hello", "greeting")])
    assert next(watch).status == SERVING
    client.delete_model("watched")
    assert next(watch).status == NOT_SERVING
    watch.cancel()


def test_reflection_describes_what_can_be_called(client, channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    names = {service.full_name for service in SERVICES} | {"grpc.health.v1.Health"}
    assert names <= set(database.get_services())
    pool = DescriptorPool(database)
    for service in SERVICES:
        found = pool.FindServiceByName(service.full_name)
        assert set(found.methods_by_name) == set(service.methods_by_name)
    message = pool.FindMessageTypeByName("honed.v1.PredictRequest")
    assert set(message.fields_by_name) == set(
        inference_pb2.PredictRequest.DESCRIPTOR.fields_by_name
    )


def test_metrics_count_what_happened(process, client):
    before = series(process)
    client.predict_many(MODEL, [f"{MARKER} {n}" for n in range(9)])
    with pytest.raises(HonedError):
        client.predict("zebra", f"{MARKER} zebra")
    answer = client.predict(MODEL, f"{MARKER} right")
    ack = client.submit(answer, label="track", kind=FeedbackKind.CORRECTION, wait=True)
    assert ack.served
    after = series(process)

    def grown(*name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("honed_requests_total", "OK", "Predict") == 2
    assert grown("honed_requests_total", "NOT_FOUND", "Predict") == 1
    assert grown("honed_request_seconds_count", "Predict") == 3
    assert grown("honed_batch_texts_sum") == grown("honed_queue_seconds_count") == 10
    assert grown("honed_batch_tokens_sum") > 30
    batches = [name for name in after if name[0] == "honed_batches_total"]
    assert sum(grown(*name) for name in batches) == grown("honed_compute_seconds_count") > 0
    assert grown("honed_compute_seconds_sum") > 0
    assert grown("honed_feedback_total", "CORRECTION", MODEL) == 1
    assert grown("honed_label_ack_seconds_count") == 1
    assert grown("honed_label_to_served_seconds_count") == 1
    assert grown("honed_revisions_total", MODEL) >= 1
    assert after["honed_model_revision", MODEL] == ack.served_revision
    assert after["honed_model_version", MODEL] == ack.served_version
    assert after["honed_adapt_up",] == 1
    for name in ("queued_tokens", "expired_total", "adapt_restarts_total"):
        assert after[f"honed_{name}",] == 0
    assert after["honed_prediction_log_dropped",] == 0


def test_the_http_port_answers_probes(process, client):
    assert page(process, "/livez") == (200, "alive\n")
    assert page(process, "/readyz") == (200, "ready; adapt process running\n")
    assert page(process, "/elsewhere")[0] == 404


def test_neither_process_ever_loads_torch(process, client):
    server = psutil.Process(process.process.pid)
    (adapt,) = server.children()
    assert "adapt_main" in " ".join(adapt.cmdline())
    for one in (server, adapt):
        maps = Path(f"/proc/{one.pid}/maps").read_text()
        assert "onnxruntime" in maps
        assert "torch" not in maps


def logged(process: ServerProcess) -> str:
    return process.home.with_name(f"{process.home.name}.log").read_text()


def test_texts_come_out_by_no_other_door(process, client):
    refused = []
    items = [f"{MARKER}\x07", MARKER * 10_000, f"{MARKER}"]
    refused += [r for r in client.predict_many(MODEL, items) if isinstance(r, HonedError)]
    for call in (
        lambda: client.submit(model=MODEL, text=f"{MARKER}\x07", label="track"),
        lambda: client.submit(model=MODEL, text=MARKER, label="track", weight=99),
        lambda: client.submit(model="zebra", text=MARKER, label="track"),
        lambda: client.submit(client.predict(MODEL, MARKER), text=f"{MARKER} other"),
        lambda: client.predict("zebra", MARKER),
    ):
        with pytest.raises(HonedError) as caught:
            call()
        refused.append(caught.value)
    assert len(refused) == 7
    seen = [str(vars(error)) for error in refused] + [page(process, "/metrics")[1], logged(process)]
    assert all(MARKER not in text for text in seen)


def test_a_client_that_vanishes_is_logged_as_one_line_without_texts(process, client):
    for _ in range(3):
        with grpc.insecure_channel(process.target) as channel:
            call = channel.stream_stream("/honed.v1.Inference/PredictStream")(
                inference_pb2.PredictRequest(
                    model=MODEL, texts=[MARKER] * 20, include_embedding=True
                ).SerializeToString()
                for _ in range(20)
            )
            next(call)
    client.predict(MODEL, MARKER)
    assert MARKER not in logged(process)


def test_a_bug_is_logged_without_the_values_of_variables(tmp_path):
    """JSON and console: a traceback's local variables would hold texts."""
    import subprocess

    program = """
import logging, sys, structlog
from honed_server.logs import configure_logs
configure_logs(sys.argv[1])
def handler(text):
    raise ValueError("a bug")
try:
    handler("%s")
except ValueError as error:
    structlog.get_logger().error("bug in a handler", exc_info=error)
    logging.getLogger("grpc").exception("from a library")
"""
    for style in ("json", "console"):
        command = [sys.executable, "-c", program % MARKER, style]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        # The program is given on the command line, so that its source is not shown either.
        assert MARKER not in output
        assert output.count("a bug") == 2
        if style == "json":
            assert all(json.loads(line)["exception"] for line in output.splitlines())


def test_streams_that_wait_do_not_hold_up_the_end(process, client, channel):
    """Last in this file: it ends the server."""
    with client.watch() as events:
        next(events)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        assert process.stop() == 0
        with pytest.raises(HonedError) as caught:
            for _ in events:
                pass
    assert caught.value.status == "UNAVAILABLE"
    assert NOT_SERVING in [answer.status for answer in _until_broken(watch)]
    lines = logged(process).splitlines()
    assert lines
    for line in lines:
        assert {"event", "level", "timestamp"} <= json.loads(line).keys()
    assert not re.search(MARKER, logged(process))


def _until_broken(stream):
    try:
        yield from stream
    except grpc.RpcError:
        return
