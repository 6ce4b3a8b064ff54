"""What a caller sees of a model: events in order, its description, its versions, its log."""

from journeys import caught_up, examples, taught, teach, wait_for

PARCEL = "where is the blue jacket that I ordered"


def test_a_watcher_sees_all_that_happens_in_order(client, name):
    taught(client, name, examples(slice(2)))
    with client.watch(name, timeout_s=30) as events:
        snapshot = next(events)
        assert snapshot.kind == "snapshot"
        assert snapshot.model == client.get_model(name)
        first = client.promote(name)
        for n in range(5):
            client.submit(model=name, text=f"{PARCEL} {n}", label="lost", wait=True)
        second = client.promote(name)
        client.rollback(name, first.version)
        client.resume(name, exclude_suspected=True)
        wait_for(client, name, caught_up)
        client.pause(name)
        seen = list(until_kind(events, "paused"))
    kinds = [event.kind for event in seen]
    assert kinds.count("revision") >= 6
    told = [kind for kind in kinds if kind not in ("revision", "snapshot")]
    assert told == ["version", "rollback", "resumed", "paused"]
    back = kinds.index("rollback")
    for part in (seen[:back], seen[back:]):
        revisions = [event.model.revision for event in part]
        assert revisions == sorted(revisions)
    assert seen[back - 1].model.version == second.version
    assert (seen[back].model.version, seen[back].model.revision) == (first.version, first.revision)
    assert seen[back].model.adaptation_paused
    assert seen[-1].model.adaptation_paused
    times = [event.time for event in [snapshot, *seen]]
    assert times == sorted(times)


def until_kind(events, kind):
    for event in events:
        yield event
        if event.kind == kind:
            return


def test_one_watch_sees_all_models_come_and_go(client, name):
    with client.watch(timeout_s=30) as events:
        snapshots = {next(events).model.name for _ in client.list_models()}
        assert name not in snapshots
        client.create_model(name)
        client.delete_model(name)
        told = [event.kind for event in until_kind(events, "deleted") if event.model.name == name]
    assert told[0] == "created"
    assert told[-1] == "deleted"


def test_a_model_is_described_with_its_versions_and_decisions(server, client, name):
    created = client.create_model(name, labels=["track"])
    assert (created.version, created.revision, created.label_set_version) == (1, 0, 1)
    assert created.labels == ()
    teach(client, name, examples(slice(1)))
    model = wait_for(client, name, lambda model: model.version == 2)
    assert model.labels == ("track", "refund", "broken", "price", "stock")
    assert model.hidden_size == 384
    assert model.encoder_digest in {p.name for p in (server.config.home / "encoders").iterdir()}
    assert model.revision == model.log_position
    assert model.adapt_state == "running"
    assert not model.adaptation_paused
    assert client.get_model(name) == model
    models = client.list_models()
    assert model in models
    assert [one.name for one in models] == sorted(one.name for one in models)
    one, two = client.list_versions(name)
    assert [(v.version, v.state, v.source, v.parent) for v in (one, two)] == [
        (1, "retired", "create", 0),
        (2, "active", "checkpoint", 1),
    ]
    assert (two.num_labels, two.log_position) == (5, model.revision)
    decided = client.list_decisions(name)
    assert [(d.kind, d.outcome, d.version) for d in decided] == [
        ("create", "created", 1),
        ("gate", "promoted", 2),
    ]


def test_the_log_is_listed_in_pages(client, name):
    pairs = examples(slice(2))
    acks = taught(client, name, pairs)
    listed = list(client.list_feedback(name, page_size=7))
    assert [(r.text, r.label) for r in listed] == pairs
    assert [r.feedback_id for r in listed] == [ack.feedback_id for ack in acks]
    positions = [r.position for r in listed]
    assert positions == sorted(set(positions))
    assert [r.text for r in client.list_feedback(name, label="price", page_size=2)] == [
        text for text, label in pairs if label == "price"
    ]
