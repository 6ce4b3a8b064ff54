from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import apsw
import pytest

from honed_adapt.storage.sqlite import StoreDamaged
from honed_server.models.registry import (
    DecisionRow,
    ModelExists,
    ModelRow,
    Pins,
    Registry,
    VersionRow,
    VersionState,
)
from honed_server.models.registry_rows import SCHEMA, insert_version


def decision(decision_id: str, kind: str = "gate", model: str = "m", **numbers) -> DecisionRow:
    return DecisionRow(decision_id, model, kind, "done", 1, "gate", "because", numbers, 12.5)


def version(number: int, log_position: int = 0, state=VersionState.CANDIDATE) -> VersionRow:
    return VersionRow(
        "m", number, state, number - 1, f"digest-{number}", log_position, 3, 5.5, "checkpoint",
        "sha", f"added-{number}", 0,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.sqlite"


@pytest.fixture
def registry(path: Path) -> Iterator[Registry]:
    with closing(Registry(path)) as registry:
        yield registry


def create(registry: Registry, name: str = "m") -> ModelRow:
    return registry.create_model(
        name, "digest-1", closed_labels=True, declared_labels=("yes", "no")
    ).result()


def add(registry: Registry, *rows: VersionRow) -> None:
    for row in rows:
        registry.add_version(row, decision(row.decision_id)).result()


def test_a_new_model_stands_on_record(registry: Registry) -> None:
    row = create(registry)
    assert (row.name, row.encoder_digest, row.active_version) == ("m", "digest-1", 0)
    assert (row.closed_labels, row.declared_labels) == (True, ("yes", "no"))
    assert (row.deleted, row.paused, row.pin_version, row.suspect_to) == (False, False, 0, 0)
    assert registry.model("m") == row
    assert registry.model("n") is None
    other = create(registry, "a")
    assert registry.models() == [other, row]


def test_a_name_is_never_used_twice(registry: Registry) -> None:
    create(registry)
    add(registry, version(1))
    registry.activate("m", 1, decision("p", "promote")).result()
    with pytest.raises(ModelExists, match="'m' exists"):
        create(registry)
    registry.delete_model("m", decision("d", "delete")).result()
    with pytest.raises(ModelExists, match="not free again"):
        create(registry)
    row = registry.model("m")
    assert row is not None
    assert row.deleted
    assert registry.decisions("m", 1)[0].kind == "delete"


def test_a_creation_that_was_interrupted_begins_again(registry: Registry) -> None:
    create(registry)
    add(registry, version(1))
    assert create(registry).active_version == 0
    assert registry.versions("m") == []
    assert registry.next_version("m") == 1


def test_versions_are_numbered_and_listed_with_their_decisions(registry: Registry) -> None:
    create(registry)
    assert registry.next_version("m") == 1
    add(registry, version(1), version(2, 7))
    assert registry.next_version("m") == 3
    assert registry.versions("m") == [version(1), version(2, 7)]
    assert [d.decision_id for d in registry.decisions("m", 10)] == ["added-1", "added-2"]


def test_a_version_and_its_decision_are_recorded_together_or_not_at_all(
    registry: Registry,
) -> None:
    create(registry)
    add(registry, version(1))
    with pytest.raises(apsw.ConstraintError):
        registry.add_version(version(1, 99), decision("second")).result()
    assert registry.versions("m") == [version(1)]
    assert [d.decision_id for d in registry.decisions("m", 10)] == ["added-1"]


def test_activation_moves_the_pointer_and_retires_the_one_before(registry: Registry) -> None:
    create(registry)
    add(registry, version(1), version(2))
    registry.activate("m", 1, decision("p1", "promote")).result()
    row = registry.activate("m", 2, decision("p2", "promote")).result()
    assert (row.active_version, row.encoder_digest, row.paused) == (2, "digest-2", False)
    states = [v.state for v in registry.versions("m")]
    assert states == [VersionState.RETIRED, VersionState.ACTIVE]


def test_what_goes_with_an_activation_is_on_record_with_it_or_neither_is(
    registry: Registry,
) -> None:
    create(registry)
    add(registry, version(1))
    registry.activate("m", 1, decision("p1", "promote")).result()

    def fails(db: apsw.Connection) -> None:
        insert_version(db, version(2))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        registry.activate("m", 2, decision("p2", "promote"), with_it=fails).result()
    assert [(v.version, v.state) for v in registry.versions("m")] == [(1, VersionState.ACTIVE)]
    with_it = partial(insert_version, row=version(2))
    row = registry.activate("m", 2, decision("p2", "promote"), with_it=with_it).result()
    assert (row.active_version, row.encoder_digest) == (2, "digest-2")
    assert [v.state for v in registry.versions("m")] == [VersionState.RETIRED, VersionState.ACTIVE]
    assert [d.decision_id for d in registry.decisions("m", 10)] == ["added-1", "p1", "p2"]


def test_a_rollback_pins_pauses_and_names_the_suspected_range(registry: Registry) -> None:
    create(registry)
    add(registry, version(1), version(2))
    registry.activate("m", 2, decision("p", "promote")).result()
    pins = Pins(version=1, revision=40, suspect_from=41, suspect_to=60)
    row = registry.activate("m", 1, decision("r", "rollback"), pins).result()
    assert (row.active_version, row.paused) == (1, True)
    assert (row.pin_version, row.pin_revision) == (1, 40)
    assert (row.suspect_from, row.suspect_to) == (41, 60)
    states = [v.state for v in registry.versions("m")]
    assert states == [VersionState.ACTIVE, VersionState.RETIRED]
    row = registry.resume("m", decision("go on", "resume")).result()
    assert (row.paused, row.pin_version, row.suspect_from, row.suspect_to) == (False, 0, 0, 0)
    assert row.active_version == 1


def test_pausing_holds_what_serves(registry: Registry) -> None:
    create(registry)
    row = registry.pause("m", decision("p", "pause"), Pins(3, 44)).result()
    assert (row.paused, row.pin_version, row.pin_revision) == (True, 3, 44)
    assert [d.kind for d in registry.decisions("m", 10)] == ["pause"]


def test_activating_an_unknown_version_changes_nothing(registry: Registry) -> None:
    create(registry)
    add(registry, version(1))
    registry.activate("m", 1, decision("p", "promote")).result()
    before = registry.model("m"), registry.versions("m"), registry.decisions("m", 10)
    with pytest.raises(apsw.ConstraintError):
        registry.activate("m", 9, decision("q", "promote")).result()
    after = registry.model("m"), registry.versions("m"), registry.decisions("m", 10)
    assert after == before


def test_a_version_state_is_changed_with_its_decision(registry: Registry) -> None:
    create(registry)
    add(registry, version(1))
    registry.set_version_state("m", 1, VersionState.DAMAGED, decision("d", "damaged")).result()
    assert registry.versions("m") == [replace(version(1), state=VersionState.DAMAGED)]
    assert registry.decisions("m", 1)[0].decision_id == "d"


def test_a_deletion_taints_the_versions_that_had_learned_it_once(registry: Registry) -> None:
    create(registry)
    add(registry, version(1, 5), version(2, 10), version(3, 20), version(4, 30))
    assert registry.taint("m", 10, 30).result() == [2, 3]
    assert registry.taint("m", 10, 30).result() == []
    assert registry.taint("m", 1, 31).result() == [1, 4]
    assert [v.tainted_position for v in registry.versions("m")] == [31, 30, 30, 31]
    assert registry.taint("n", 1, 40).result() == []


def test_a_version_that_is_removed_is_tainted_by_what_removed_it(registry: Registry) -> None:
    create(registry)
    add(registry, version(1, 5), version(2, 10), version(3, 20))
    registry.taint("m", 20, 30).result()
    registry.remove_versions("m", {2: 40, 3: 40}, decision("gone", "retire")).result()
    found = [(v.removed, v.tainted_position) for v in registry.versions("m")]
    assert found == [(False, 0), (True, 40), (True, 30)]


def test_decisions_keep_their_numbers_and_come_newest_last(registry: Registry) -> None:
    first = decision("d1", accuracy=0.5, examples=[1, 2])
    for one in (first, decision("d2"), decision("other", model="n"), decision("d3")):
        registry.record(one).result()
    assert registry.decisions("m", 10)[0] == first
    assert [d.decision_id for d in registry.decisions("m", 2)] == ["d2", "d3"]


def test_one_decision_behind_several_writes_is_recorded_once(registry: Registry) -> None:
    create(registry)
    registry.add_version(version(1), decision("d")).result()
    registry.activate("m", 1, decision("d")).result()
    assert [d.decision_id for d in registry.decisions("m", 10)] == ["d"]


def test_label_sets_are_numbered_and_only_grow(registry: Registry) -> None:
    sets = [(), ("a",), ("a",), ("a", "b"), ("a",), ("a",)]
    numbers = [registry.label_set_number("m", labels).result() for labels in sets]
    assert numbers == [1, 2, 2, 3, 4, 4]
    assert registry.label_set_number("n", ("a",)).result() == 1


def test_what_was_recorded_is_there_after_reopening(path: Path) -> None:
    with closing(Registry(path)) as registry:
        create(registry)
        add(registry, version(1))
        row = registry.activate("m", 1, decision("p", "promote")).result()
    with closing(Registry(path)) as registry:
        assert registry.model("m") == row
        assert registry.versions("m")[0].state is VersionState.ACTIVE
        assert [d.decision_id for d in registry.decisions("m", 10)] == ["added-1", "p"]


def test_a_damaged_registry_is_refused_by_name(path: Path) -> None:
    path.write_bytes(b"\0garbage" * 2_000)
    with pytest.raises(StoreDamaged, match=r"registry\.sqlite is damaged"):
        Registry(path)


def test_a_file_of_the_first_schema_is_brought_up_to_date(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute(SCHEMA[0])
        db.execute(
            "INSERT INTO models (name, encoder_digest, created, closed_labels, declared_labels,"
            " active_version) VALUES ('old', 'digest-1', 1.5, 0, '[]', 4)"
        )
        db.pragma("user_version", 1)
    with closing(Registry(path)) as registry:
        old = registry.model("old")
        assert old is not None
        assert (old.active_version, old.created, old.own_head_version) == (4, 1.5, 0)
        new = registry.create_model(
            "new", "digest-2", closed_labels=False, declared_labels=("a",), own_head_version=1
        ).result()
        assert new.own_head_version == 1
        with pytest.raises(ModelExists, match="'old' exists"):
            registry.check_free("old")
        registry.check_free("other")
