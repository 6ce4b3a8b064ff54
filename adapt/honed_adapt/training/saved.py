"""A training's checkpoint on disk: tensors as safetensors, the rest as JSON. Nothing is unpickled.

It stands beside `fit.py`, so that a trainer that was killed goes on where it was. The JSON is
written last and names the file of its tensors: a checkpoint is whole or is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from honed_adapt.storage.durable import fsync
from honed_adapt.training.fit import Progress

_STATE = "state.json"


def save(folder: Path, basis: Mapping[str, Any], progress: Progress, tensors: Mapping[str, Tensor]
         ) -> None:  # fmt: skip
    """Write a checkpoint in the place of the one before.

    Args:
        folder: of this training alone; made if missing.
        basis: what it was made from; `load` wants the same.
        progress: where it stands.
        tensors: what `Fit.state` returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"step-{progress.step}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    fsync(folder / name)
    state = {"tensors": name, "basis": dict(basis), "progress": asdict(progress)}
    aside = folder / f".{_STATE}"
    aside.write_text(json.dumps(state, sort_keys=True))
    fsync(aside)
    os.replace(aside, folder / _STATE)
    fsync(folder)
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink()


def load(folder: Path, basis: Mapping[str, Any]) -> tuple[Progress, dict[str, Tensor]] | None:
    """The checkpoint, if there is a sound one made from the same; else None: begin anew."""
    try:
        state = json.loads((folder / _STATE).read_bytes())
        if state["basis"] != json.loads(json.dumps(dict(basis))):
            return None
        progress = Progress(**state["progress"])
        progress.scores = [(float(one), float(other)) for one, other in progress.scores]
        return progress, load_file(folder / state["tensors"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
