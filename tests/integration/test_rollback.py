"""Going back: to an earlier version, to an intact one, and on from there without the suspects."""

import os
import shutil
import signal

import pytest
from journeys import (
    answers,
    caught_up,
    decisions,
    distance,
    examples,
    saved_head,
    states,
    taught,
    teach,
    trainer,
    wait_for,
)

from harness import running
from honed import InvalidRequest, NotFound
from honed_adapt.process.messages import Candidate

TEXTS = [text for text, _ in examples(slice(6, 8))]
GOOD = examples(slice(2))
MORE = examples(slice(3, 4))
# What a vandal says.
BAD = [(text, "price") for text, label in examples(slice(6, 8)) if label != "price"]


def poisoned(client, model):
    """A model with a good version 2, and a version 3 that a vandal has spoiled; answers of both."""
    taught(client, model, GOOD)
    good = answers(client, model, TEXTS)
    teach(client, model, BAD[:12], submitter="vandal")
    teach(client, model, MORE, submitter="ada")
    teach(client, model, BAD[12:], submitter="vandal")
    wait_for(client, model, caught_up, timeout_s=60)
    client.promote(model)
    bad = answers(client, model, TEXTS)
    assert distance(good, bad) > 0.5
    return good, bad


def test_a_rollback_needs_no_adapt_process_and_survives_restarts(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        good, _ = poisoned(client, "m")
        two, _ = client.list_versions("m")[1:]
        taught(client, "clean", [*GOOD, *MORE])
        clean = answers(client, "clean", TEXTS)
        last = client.get_model("m").log_position
    with running(home, example=False, adapt=False) as server, server.client() as client:
        model = client.rollback("m", requested_by="ada")
        assert (model.version, model.revision) == (2, two.log_position)
        assert model.adaptation_paused
        assert (model.suspect_from, model.suspect_to) == (two.log_position + 1, last)
        assert distance(answers(client, "m", TEXTS), good) < 1e-4
        ((decision, numbers),) = decisions(client, "m", "rollback")
        assert (decision.outcome, decision.version, decision.actor) == ("activated", 2, "ada")
        assert numbers == {"suspect_from": model.suspect_from, "suspect_to": last}
        assert [v.state for v in client.list_versions("m")] == ["retired", "active", "retired"]
        ack = client.submit(model="m", text="it is lost", label="lost", wait=True, timeout_s=30)
        assert not ack.served
    with running(home, example=False) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.adapt_state == "running")
        # Learns, in the order of the log, after it has seen what there is to do for "m".
        teach(client, "clean", [("it is lost", "lost")])
        pinned = client.get_model("m")
        assert (pinned.version, pinned.revision) == (2, two.log_position)
        assert (pinned.suspect_from, pinned.suspect_to) == (model.suspect_from, last)
        assert pinned.adaptation_paused
        assert distance(answers(client, "m", TEXTS), good) < 1e-4

        resumed = client.resume("m", exclude_submitter="vandal", requested_by="ada")
        assert not resumed.adaptation_paused
        assert (resumed.suspect_from, resumed.suspect_to) == (0, 0)
        wait_for(client, "m", caught_up)
        assert_without_the_vandal(client)
        clean = answers(client, "clean", TEXTS)
        assert distance(answers(client, "m", TEXTS), clean) < 1e-4
        ((decision, numbers),) = decisions(client, "m", "resume")
        assert len(numbers["excluded_positions"]) == len(BAD)
    with running(home, example=False) as server, server.client() as client:
        wait_for(client, "m", lambda one: one.adapt_state == "running" and caught_up(one))
        assert_without_the_vandal(client)
        teach(client, "m", [("it is lost too", "lost")])
        teach(client, "clean", [("it is lost too", "lost")])
        clean = answers(client, "clean", TEXTS)
        assert distance(answers(client, "m", TEXTS), clean) < 1e-4


def assert_without_the_vandal(client):
    for record in client.list_feedback("m"):
        assert record.state == ("excluded" if record.submitter == "vandal" else "active")


def test_all_that_is_under_suspicion_can_be_left_out(client, name):
    good, _ = poisoned(client, name)
    client.rollback(name, 2)
    during = client.submit(model=name, text=TEXTS[0], label="mine")
    client.resume(name, exclude_suspected=True, exclude_submitter="ada")
    wait_for(client, name, lambda one: one.revision >= during.position)
    suspects = len(BAD) + len(MORE)
    assert states(client, name) == ["active"] * len(GOOD) + ["excluded"] * suspects + ["active"]
    client.delete(name, [during.feedback_id])
    assert distance(answers(client, name, TEXTS), good) < 1e-4


def test_a_second_rollback_skips_what_was_rolled_back_from(client, name):
    good, _ = poisoned(client, name)
    client.rollback(name)
    pinned = client.get_model(name)
    resumed = client.resume(name, exclude_suspected=True)
    # No two heads have the same version and revision.
    assert (resumed.version, resumed.log_position) > (pinned.version, pinned.log_position)
    teach(client, name, [("it is lost", "lost")])
    assert client.promote(name).version == 4
    model = client.rollback(name)
    assert model.version == 2
    assert distance(answers(client, name, TEXTS), good) < 1e-4


def test_resuming_without_exclusion_learns_everything_again(client, name):
    _, bad = poisoned(client, name)
    client.rollback(name, 2)
    client.resume(name)
    wait_for(client, name, caught_up)
    assert distance(answers(client, name, TEXTS), bad) < 1e-4


def test_what_is_pinned_stays_whatever_is_said_and_whoever_restarts(server, client, name):
    good, _ = poisoned(client, name)
    pinned = client.rollback(name, 2)
    learned = next(client.list_feedback(name))
    client.retract(name, learned.feedback_id)
    client.submit(model=name, text=TEXTS[0], label="lost")
    os.kill(server.server.adapt_pid, signal.SIGKILL)
    wait_for(client, name, lambda one: one.adapt_state == "down")
    wait_for(client, name, lambda one: one.adapt_state == "running")
    taught(client, f"{name}-2", GOOD[:5])  # the adapt process has been through all models
    model = client.get_model(name)
    assert (model.version, model.revision) == (pinned.version, pinned.revision)
    assert distance(answers(client, name, TEXTS), good) < 1e-6


def test_a_pause_is_pinned_over_restarts_where_learning_stood(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        taught(client, "m", GOOD)
        teach(client, "m", MORE)
        paused = client.pause("m", requested_by="ada")
        before = answers(client, "m", TEXTS)
        client.submit(model="m", text=TEXTS[0], label="lost")
        ((decision, _),) = decisions(client, "m", "pause")
        assert decision.actor == "ada"
    for adapt in (False, True):
        with running(home, example=False, adapt=adapt) as server, server.client() as client:
            model = client.get_model("m")
            assert model.adaptation_paused
            assert model.revision == paused.revision
            assert distance(answers(client, "m", TEXTS), before) < 1e-4


def test_some_versions_cannot_be_returned_to(server, client, name):
    client.create_model(name)
    assert refusal(client, name, 0).reason == "NOTHING_TO_ROLL_BACK_TO"
    acks = teach(client, name, GOOD)
    wait_for(client, name, lambda one: one.version == 2)
    assert refusal(client, name, 0).reason == "NOTHING_TO_ROLL_BACK_TO"
    with pytest.raises(NotFound) as caught:
        client.rollback(name, 9)
    assert caught.value.reason == "UNKNOWN_VERSION"
    empty = refusal(client, name, 1)
    assert empty.reason == "CANNOT_ROLL_BACK"
    assert "knows no label" in empty.message

    digest = client.get_model(name).encoder_digest
    head = saved_head(server.config.home, name, 2)
    with trainer(server.config.home) as door:
        offered = door.offer(Candidate(name, digest, acks[-1].position, head))
    assert offered.outcome == "candidate"
    assert "never served" in refusal(client, name, offered.number).message

    done = client.delete(name, [acks[0].feedback_id])
    assert done.tainted_versions == (2, 3)
    tainted = refusal(client, name, 2)
    assert tainted.reason == "CANNOT_ROLL_BACK"
    assert f"deleted at log position {done.position}" in tainted.message
    assert not client.get_model(name).adaptation_paused


def refusal(client, model, version):
    before = client.get_model(model)
    with pytest.raises(InvalidRequest) as caught:
        client.rollback(model, version)
    assert caught.value.status == "FAILED_PRECONDITION"
    after = client.get_model(model)
    assert (after.version, after.adaptation_paused) == (before.version, False)
    return caught.value


def damage(home, model, version, file="head.safetensors"):
    """Flips one bit in the middle of a file; returns its path and its bytes before."""
    path = home / "models" / model / "versions" / str(version) / file
    before = path.read_bytes()
    middle = len(before) // 2
    path.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    return path, before


def test_a_damaged_version_is_refused_by_name_and_the_running_one_goes_on(server, client, name):
    _, bad = poisoned(client, name)
    path, before = damage(server.config.home, name, 2)
    fault = refusal(client, name, 2)
    assert fault.reason == "VERSION_DAMAGED"
    assert str(path) in fault.message
    assert distance(answers(client, name, TEXTS), bad) < 1e-6
    assert [v.state for v in client.list_versions(name)] == ["retired", "damaged", "active"]
    ((decision, _),) = decisions(client, name, "verify")
    assert (decision.outcome, decision.version) == ("damaged", 2)
    # Restored from a backup, it is as good as before.
    path.write_bytes(before)
    assert client.rollback(name, 2).version == 2
    assert [v.state for v in client.list_versions(name)] == ["retired", "active", "retired"]


def test_the_version_of_another_model_is_refused(server, client, name):
    poisoned(client, name)
    taught(client, f"{name}-2", GOOD)
    root = server.config.home / "models"
    shutil.rmtree(root / name / "versions" / "2")
    shutil.copytree(root / f"{name}-2" / "versions" / "2", root / name / "versions" / "2")
    fault = refusal(client, name, 2)
    assert fault.reason == "VERSION_DAMAGED"
    assert f"{name}/versions/2/manifest.json" in fault.message


def test_a_damaged_active_version_gives_way_to_the_newest_intact_one(tmp_path):
    home = tmp_path / "h"
    with running(home, example=False) as server, server.client() as client:
        good, bad = poisoned(client, "m")
        taught(client, "n", GOOD)
        taught(client, "o", GOOD)
    broken = [damage(home, "m", 3)]
    broken += [damage(home, "n", version, "labels.json") for version in (1, 2)]
    with running(home, example=False, adapt=False) as server, server.client() as client:
        assert [one.name for one in client.list_models()] == ["m", "o"]
        model = client.get_model("m")
        assert model.version == 2
        assert not model.adaptation_paused
        assert distance(answers(client, "m", TEXTS), good) < 1e-4
        assert distance(answers(client, "o", TEXTS), good) < 1e-4
        ((found, _),) = decisions(client, "m", "verify")
        assert (found.outcome, found.version) == ("damaged", 3)
        assert "versions/3/head.safetensors" in found.reason
        ((decision, _),) = decisions(client, "m", "rollback")
        assert (decision.actor, decision.outcome, decision.version) == ("start", "activated", 2)
        assert "version 3 is damaged" in decision.reason
        assert [v.state for v in client.list_versions("m")] == ["retired", "active", "damaged"]
    for path, before in broken:
        path.write_bytes(before)
    with running(home, example=False) as server, server.client() as client:
        assert [one.name for one in client.list_models()] == ["m", "n", "o"]
        assert distance(answers(client, "n", TEXTS), good) < 1e-4
        # What the damaged version had learned is in the log.
        wait_for(client, "m", lambda one: one.adapt_state == "running" and caught_up(one))
        assert distance(answers(client, "m", TEXTS), bad) < 1e-4
        assert client.rollback("m", 3).version == 3
