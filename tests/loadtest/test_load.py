"""Load clients share a job out, send what is due when it is due, and count what should count."""

import time
from dataclasses import replace
from itertools import count
from threading import Lock

import numpy as np
import pytest

from clients.scripted import Fault, ScriptedServer, status
from honed_loadtest.bench import checked
from honed_loadtest.load import Job, Load, Outcome, run_load, shares
from honed_loadtest.profile import ClosedLoop, OpenLoop, Trace
from honed_loadtest.samples import SAMPLE
from honed_proto.v1 import inference_pb2 as pb

QUESTIONS = [("m", "a"), ("m", "b"), ("n", "c")]
JOB = Job("127.0.0.1:1", QUESTIONS, OpenLoop.steady(90, 2.0), warm_s=1.0, seed=7, processes=2)


@pytest.fixture
def server():
    server = ScriptedServer()
    server.on("Inference.Predict", answer)
    yield server
    server.stop()


def answer(request):
    found = pb.PredictResponse(items=[pb.PredictItem()])
    found.items[0].prediction.CopyFrom(pb.Prediction(model=request.model, version=3, revision=7))
    found.items[0].prediction.queue_time.FromMilliseconds(2)
    found.items[0].prediction.compute_time.FromMilliseconds(5)
    return found


def test_the_parts_of_an_open_loop_are_one_schedule_dealt_out_in_turn():
    whole = JOB.profile.arrivals(1.0, seed=7)
    for processes in (1, 2, 3):
        parts = shares(replace(JOB, processes=processes))
        dealt = np.concatenate([times for _, times in parts])
        assert np.sort(dealt).tolist() == whole.tolist()
        assert [(part.number, part.of) for part, _ in parts] == [
            (n, processes) for n in range(processes)
        ]


def test_a_closed_loop_shares_its_callers_out():
    parts = shares(replace(JOB, profile=ClosedLoop(5, 2.0)))
    assert [part.concurrency for part, _ in parts] == [3, 2]
    (alone,) = shares(replace(JOB, profile=ClosedLoop(1, 2.0), processes=4))
    assert alone[0].concurrency == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_every_question_is_asked_in_turn_and_each_answer_is_noted(server, processes):
    offsets = tuple(n / 100 for n in range(30))
    job = replace(JOB, target=server.target, profile=Trace(offsets), warm_s=0, processes=processes)
    outcome = run_load(job)
    requests = server.requests("Inference.Predict")
    assert sorted((each.model, *each.texts) for each in requests) == sorted(QUESTIONS * 10)
    assert outcome.samples["question"].tolist() == [n % 3 for n in range(30)]
    assert outcome.samples["due"] == pytest.approx(offsets)
    assert (outcome.samples["sent"] >= outcome.samples["due"]).all()
    assert outcome.served == {"3.7": 30}
    assert set(outcome.answers["queued_s"]) == {0.002}
    assert set(outcome.answers["computed_s"]) == {0.005}
    assert len(outcome.cpus_s) == processes


STALL_S = 0.6


def stalling():
    """Answers one at a time, and stalls once: who asks meanwhile waits for it."""
    lock, numbers = Lock(), count()

    def one_by_one(request):
        with lock:
            if next(numbers) == 20:
                time.sleep(STALL_S)
            return answer(request)

    return one_by_one


def test_a_stall_is_felt_by_everyone_who_would_have_asked_meanwhile(server):
    server.on("Inference.Predict", stalling())
    profile = Trace(tuple(n / 100 for n in range(100)))
    outcome = run_load(replace(JOB, target=server.target, profile=profile, warm_s=0))
    assert len(outcome.answers) == 100
    # The stall cannot end before STALL_S after its request was due, whoever is slow.
    waited_s = outcome.latencies_s[20:80]
    least_s = 0.2 + STALL_S - outcome.answers["due"][20:80]
    assert (np.sort(waited_s) >= np.sort(least_s) - 0.02).all()


def test_a_closed_loop_hides_the_same_stall_from_all_but_one(server):
    server.on("Inference.Predict", stalling())
    job = replace(JOB, target=server.target, profile=ClosedLoop(1, 1.0), warm_s=0)
    assert (run_load(job).latencies_s >= STALL_S).sum() == 1


def test_a_slow_answer_counts_even_if_it_comes_after_the_end(server):
    def slowly(request):
        time.sleep(0.5)
        return answer(request)

    server.on("Inference.Predict", slowly)
    profile = Trace((0.0, 0.05, 0.1))
    outcome = run_load(replace(JOB, target=server.target, profile=profile, warm_s=0))
    assert (len(outcome.answers), outcome.finished) == (3, 0)


def test_refusals_and_missed_deadlines_are_counted_apart(server):
    def refuse(request):
        if request.texts == ["a"]:
            refusal = status("RESOURCE_EXHAUSTED", "full")
            return pb.PredictResponse(items=[pb.PredictItem(error=refusal)])
        if request.texts == ["b"]:
            time.sleep(1)
        return answer(request)

    server.on("Inference.Predict", refuse)
    profile = Trace(tuple(n / 100 for n in range(9)))
    job = replace(JOB, target=server.target, profile=profile, warm_s=0, timeout_s=0.7)
    outcome = run_load(job)
    assert outcome.failures == {"RESOURCE_EXHAUSTED": 3, "DEADLINE_EXCEEDED": 3}
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        checked(outcome)


def test_a_call_that_fails_is_counted_by_its_status(server):
    server.on("Inference.Predict", Fault(status("INTERNAL", "broken")))
    outcome = run_load(replace(JOB, target=server.target, profile=Trace((0, 0.1)), warm_s=0))
    assert outcome.failures == {"INTERNAL": 2}


def test_a_load_can_be_stopped(server):
    job = replace(JOB, target=server.target, profile=OpenLoop.steady(50, 3600), warm_s=0)
    with Load(job) as load:
        time.sleep(0.3)
        outcome = load.stop()
    assert 0 < len(outcome.samples) < 1000
    assert outcome.seconds < 60


def test_results_add_up():
    def part(*rows, cpu_s):
        samples = np.zeros(len(rows), SAMPLE)
        for name, column in zip(("due", "ended", "status"), zip(*rows, strict=True), strict=True):
            samples[name] = column
        return {"began": 5.0, "seconds": 2.0, "cpu_s": cpu_s}, samples

    one = part((-0.1, 0.1, 0), (0.5, 0.75, 0), (1.5, 2.5, 0), cpu_s=0.5)
    other = part((0.25, 0.5, 0), (1.0, 1.5, 14), (2.0, 2.1, 0), cpu_s=0.25)
    opened = Outcome.of([one, other], closed=False)
    assert opened.latencies_s.tolist() == [0.25, 0.25, 1.0]
    assert (opened.finished, opened.per_s, opened.cpu_share) == (3, 1.5, 0.375)
    assert opened.failures == {"UNAVAILABLE": 1}
    closed = Outcome.of([one, other], closed=True)
    assert closed.latencies_s.tolist() == pytest.approx([0.2, 0.25, 0.25])


def answer_all(request):
    found = pb.PredictResponse(request_id=request.request_id)
    for text in request.texts:
        item = found.items.add()
        if text == "c":
            item.error.CopyFrom(status("INVALID_ARGUMENT", "no"))
        else:
            item.prediction.version = 3
    return found


def test_many_texts_a_request_are_counted_one_by_one(server):
    server.on("Inference.Predict", answer_all)
    questions = [("m", text) for text in "abacd"]
    job = replace(JOB, target=server.target, questions=questions, texts=2, warm_s=0, processes=1)
    outcome = run_load(replace(job, profile=Trace((0.0, 0.05, 0.1))))
    assert [list(each.texts) for each in server.requests("Inference.Predict")] == [
        ["a", "b"], ["a", "c"], ["d", "a"]
    ]  # fmt: skip
    assert outcome.samples["texts"].tolist() == [2, 1, 2]
    assert (len(outcome.answers), outcome.failures) == (2, {"INVALID_ARGUMENT": 1})


def test_a_stream_carries_the_same_job(server):
    server.on("Inference.PredictStream", lambda requests: map(answer_all, requests))
    profile = Trace(tuple(n / 100 for n in range(20)))
    job = replace(JOB, target=server.target, profile=profile, warm_s=0, stream=True)
    outcome = run_load(replace(job, questions=[("m", "a"), ("m", "b")]))
    # Not `finished`, which leaves out an answer to the last one that takes over a millisecond.
    assert (len(outcome.answers), outcome.failures) == (20, {})
    assert len(server.received) == 2  # one call of each process


def test_what_finds_a_stream_full_is_refused_by_the_client(server):
    def never(requests):
        yield from (answer_all(each) for each in requests if each.texts == ["z"])

    server.on("Inference.PredictStream", never)
    profile = Trace(tuple(n / 1000 for n in range(100)))
    job = replace(JOB, target=server.target, profile=profile, warm_s=0, stream=True, processes=1)
    outcome = run_load(replace(job, timeout_s=0.5))
    assert outcome.failures == {"RESOURCE_EXHAUSTED": 36, "DEADLINE_EXCEEDED": 64}


@pytest.mark.parametrize(("throttle", "least", "most"), [(False, 500, 500), (True, 4, 200)])
def test_clients_may_hold_back_what_would_be_refused(server, throttle, least, most):
    server.on("Inference.Predict", Fault(status("RESOURCE_EXHAUSTED", "full", "QUEUE_FULL")))
    profile = Trace(tuple(n / 500 for n in range(500)))
    job = replace(JOB, target=server.target, profile=profile, warm_s=0, throttle=throttle)
    assert run_load(job).failures == {"RESOURCE_EXHAUSTED": 500}
    assert least <= len(server.received) <= most


def test_a_run_without_hope_ends_early(server):
    def slowly(request):
        time.sleep(0.05)
        return answer(request)

    server.on("Inference.Predict", slowly)
    profile = OpenLoop.steady(50, 60)
    job = replace(JOB, target=server.target, profile=profile, warm_s=0, bound_s=0.01, processes=1)
    outcome = run_load(job)
    assert outcome.seconds < 30
    assert (outcome.latencies_s > 0.01).sum() > 30
