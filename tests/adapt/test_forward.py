from pathlib import Path

import numpy as np
import pytest

from checkpoints import FAMILIES, save_encoder
from honed_adapt.encoders.checkpoint import Architecture, Pooling, Settings, read_json
from honed_adapt.encoders.forward import forward
from oracle import reference

TOLERANCE = 1e-5
ROWS = [np.array([2, 7, 9, 3]), np.array([2]), np.array([2, 5, 5, 30, 1, 11, 4, 3])]


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_those_of_transformers(tmp_path: Path, family: str, activation: str) -> None:
    folder = save_encoder(tmp_path, family, hidden_act=activation)
    _compare(folder, "mean", True)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalise", [True, False])
def test_it_pools_as_it_is_told(tmp_path: Path, pooling: Pooling, normalise: bool) -> None:
    _compare(save_encoder(tmp_path), pooling, normalise)


def _compare(folder: Path, pooling: Pooling, normalise: bool) -> None:
    architecture = Architecture.of(read_json(folder / "config.json"))
    settings = Settings(pooling, normalise, 64)
    vectors = forward(architecture, settings, folder / "model.safetensors", ROWS)
    wanted = reference(folder, ROWS, pooling=pooling, normalise=normalise)
    np.testing.assert_allclose(vectors, wanted, rtol=TOLERANCE, atol=TOLERANCE)
