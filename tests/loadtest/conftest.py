from collections.abc import Callable
from pathlib import Path

import pytest
from swap_oracle import make_encoder

from loadtest.small import small_rows, write_rows


@pytest.fixture
def small_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder of one layer that servers take as their default."""
    make_encoder(tmp_path, tmp_path, 0)
    monkeypatch.setenv("HONED_ENCODER", str(tmp_path / "encoder-0"))
    return tmp_path / "encoder-0"


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Makes a small data set under HONED_DATA, which has none before."""
    monkeypatch.setenv("HONED_DATA", str(tmp_path / "data"))

    def make(name: str, classes: int) -> None:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for part in ("train", "test"):
            write_rows(folder / f"{part}.csv", small_rows(classes))

    return make
