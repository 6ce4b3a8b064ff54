"""Where a fine-tuned encoder comes from: a small file beside it, which its digest does not cover.

It stands between the round that made an encoder (`training/`) and whoever asks later what it has
seen: the next round, which begins at the base again, and forgetting, which must know whose weights
hold what was deleted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from honed_adapt.storage.durable import fsync

_FILE = "lineage.json"


@dataclass(frozen=True, slots=True)
class Lineage:
    """How an encoder was made.

    Attributes:
        base: digest of the encoder that training began with; it was never fine-tuned here.
        parent: digest of the champion's encoder then.
        round_id: the round that made it.
        kind: "adapter" or "full".
        trained_to: for each model, the last log position whose label it may have seen. Held-out
            labels chose among its weights, so they count as seen.
    """

    base: str
    parent: str
    round_id: str
    kind: str
    trained_to: Mapping[str, int] = field(default_factory=dict)


def write_lineage(home: Path, digest: str, lineage: Lineage) -> None:
    """Keep it beside the encoder, durably."""
    folder = home / "encoders" / digest
    aside = folder / f".{_FILE}"
    aside.write_text(json.dumps(asdict(lineage), indent=2, sort_keys=True) + "\n")
    fsync(aside)
    os.replace(aside, folder / _FILE)
    fsync(folder)


def read_lineage(home: Path, digest: str) -> Lineage | None:
    """Where an encoder comes from; None if no round made it."""
    try:
        stored = json.loads((home / "encoders" / digest / _FILE).read_bytes())
        return Lineage(**stored)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise OSError(f"{home / 'encoders' / digest / _FILE} is damaged: {error}") from error


def base_of(home: Path, digest: str) -> str:
    """The encoder that a round for the models of this one begins with."""
    found = read_lineage(home, digest)
    return digest if found is None else found.base


def seen_by(home: Path, digest: str) -> Mapping[str, int]:
    """For each model, the last log position that an encoder may have seen; empty if it saw none."""
    try:
        found = read_lineage(home, digest)
    except OSError:
        return {}  # a damaged encoder does not serve
    return {} if found is None else found.trained_to


def was_tuned(home: Path, digest: str) -> bool:
    """Whether labels of a model here were trained on for an encoder."""
    return bool(seen_by(home, digest))


def trained_to(home: Path, digest: str, model: str) -> int:
    """The last log position of a model that an encoder may have seen; 0 if it has seen none."""
    return seen_by(home, digest).get(model, 0)
