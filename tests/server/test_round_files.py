"""Encoders that nothing names any more are removed, and no others."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from honed_adapt.encoders.lineage import Lineage, write_lineage
from honed_server.models.registry import DecisionRow, Registry, VersionRow, VersionState
from honed_server.rounds.files import remove_encoders

BASE, MADE, OTHER, OLD, NEW = (letter * 64 for letter in "abcde")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for digest in (BASE, MADE, OTHER, OLD, NEW):
        (tmp_path / "encoders" / digest).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with closing(Registry(home / "registry.sqlite")) as registry:
        yield registry


def model(registry: Registry, name: str, *digests: str, state=VersionState.RETIRED) -> None:
    registry.create_model(name, digests[0], closed_labels=False, declared_labels=()).result()
    for number, digest in enumerate(digests, 1):
        record = DecisionRow(f"{name}{number}", name, "x", "x", number, "x", "x")
        row = VersionRow(
            name, number, state, 0, digest, 0, 2, 1.0, "x", "sha", record.decision_id, 0
        )
        registry.add_version(row, record).result()
    registry.activate(name, 1, DecisionRow(f"{name}a", name, "x", "x", 1, "x", "x")).result()


def made(home: Path, digest: str, base: str, round_id: str = "r") -> None:
    write_lineage(home, digest, Lineage(base, base, round_id, "adapter"))


def left(home: Path) -> set[str]:
    return {path.name for path in (home / "encoders").iterdir()}


def test_what_versions_need_stays_with_its_base(home, registry):
    model(registry, "m", MADE)
    made(home, MADE, BASE)
    made(home, OTHER, BASE)
    assert remove_encoders(home, registry, [OLD], []) == [OTHER]
    assert left(home) == {BASE, MADE, OLD, NEW}  # nobody ever named NEW: it is not ours to judge


def test_a_round_at_work_keeps_what_it_has_made(home, registry):
    made(home, NEW, BASE, "r2")
    assert remove_encoders(home, registry, [], ["r2"]) == []
    assert remove_encoders(home, registry, [], []) == [NEW]


def test_of_refused_versions_only_the_last_keeps_its_encoder(home, registry):
    model(registry, "m", BASE)
    for number, digest in enumerate((OLD, NEW), 2):
        record = DecisionRow(f"r{number}", "m", "gate", "refused", number, "gate", "x")
        registry.add_version(
            VersionRow(
                "m", number, VersionState.REFUSED, 1, digest, 0, 2, 1.0, "candidate", "s",
                record.decision_id, 0,
            ),
            record,
        ).result()  # fmt: skip
        made(home, digest, BASE)
    assert remove_encoders(home, registry, [], []) == [OLD]


def test_a_refused_version_that_was_removed_keeps_no_encoder(home, registry):
    model(registry, "m", BASE, OLD, state=VersionState.REFUSED)
    made(home, OLD, BASE)
    assert remove_encoders(home, registry, [], []) == []
    record = DecisionRow("r", "m", "retire", "removed", 0, "deletion", "x")
    registry.remove_versions("m", {2: 50}, record).result()
    assert remove_encoders(home, registry, [], []) == [OLD]


def test_the_encoder_of_a_deleted_model_goes_unless_another_has_it(home, registry):
    model(registry, "gone", OTHER, OLD)
    model(registry, "stays", OLD)
    registry.delete_model("gone", DecisionRow("d", "gone", "x", "x", 0, "x", "x")).result()
    assert remove_encoders(home, registry, [], []) == [OTHER]
