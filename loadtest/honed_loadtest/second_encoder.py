"""Another encoder of the same size for a server, so that swaps between two can be measured."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from honed_adapt.encoders.store import import_encoder

_WEIGHTS = "model.safetensors"
_SCALE = np.float32(1.001)


def second_encoder(home: Path, digest: str) -> str:
    """Stores an encoder whose weights differ a little from those of a stored one.

    Args:
        home: Data folder of the server, which may run.
        digest: Of the stored encoder.

    Returns:
        The digest of the new one.
    """
    stored = home / "encoders" / digest
    with tempfile.TemporaryDirectory(prefix="honed-encoder-") as folder:
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(stored / name, folder)
        weights = load_file(stored / _WEIGHTS)
        save_file({n: w * _SCALE for n, w in weights.items()}, Path(folder) / _WEIGHTS)
        return import_encoder(Path(folder), home)
