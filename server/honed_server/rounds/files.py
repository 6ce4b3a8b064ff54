"""What rounds leave on disk: a trainer's checkpoints, and encoders that nothing names any more."""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import structlog

from honed_adapt.encoders.lineage import read_lineage
from honed_adapt.encoders.store import stored_encoders
from honed_server.models.registry import Registry, VersionRow, VersionState

log = structlog.get_logger(__name__)


def work_folder(home: Path, round_id: str) -> Path:
    """Where a round's trainer keeps its checkpoints."""
    return home / "adapt" / "rounds" / round_id


def remove_work(home: Path, round_id: str) -> None:
    """Removes a round's checkpoints; harmless if there are none."""
    shutil.rmtree(work_folder(home, round_id), ignore_errors=True)


def sweep_work(home: Path, active: Collection[str]) -> None:
    """Removes the checkpoints of rounds that have ended; call it while nothing trains."""
    for folder in (home / "adapt" / "rounds").glob("*"):
        if folder.name not in active:
            shutil.rmtree(folder, ignore_errors=True)


def remove_encoders(
    home: Path, registry: Registry, kept: Iterable[str], at_work: Collection[str]
) -> list[str]:
    """Removes encoders that no version needs any more; returns their digests.

    Those that no version ever named are left alone, unless a round made them: somebody may be
    about to use them.

    Args:
        home: The data folder.
        registry: Which versions there are.
        kept: Digests that are needed besides: the default, what serves, what rounds begin with.
        at_work: Rounds that have not ended, which may be about to offer theirs.
    """
    ever, needed = set[str](), set(kept)
    for model in registry.models():
        rows = registry.versions(model.name)
        ever |= {row.encoder_digest for row in rows}
        if not model.deleted:
            needed |= {model.encoder_digest, *needed_by(rows)}
    there = stored_encoders(home)
    made = {one: found for one in there if (found := read_lineage(home, one)) is not None}
    needed |= {one for one, lineage in made.items() if lineage.round_id in at_work}
    needed |= {lineage.base for one, lineage in made.items() if one in needed}  # of later rounds
    removed = [one for one in there if one not in needed and (one in made or one in ever)]
    for digest in removed:
        shutil.rmtree(home / "encoders" / digest, ignore_errors=True)
    if removed:
        log.info("unused encoders removed", encoders=[digest[:12] for digest in removed])
    return removed


def needed_by(rows: Iterable[VersionRow]) -> set[str]:
    """The encoders of a model's versions that may serve again.

    Of refused versions only the last one counts: it can still be promoted by hand.
    """
    rows = [row for row in rows if not row.removed]
    refused = [row for row in rows if row.state is VersionState.REFUSED]
    others = [row for row in rows if row.state is not VersionState.REFUSED]
    return {row.encoder_digest for row in (*others, *refused[-1:])}
