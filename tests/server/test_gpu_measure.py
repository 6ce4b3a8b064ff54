"""The script that times the GPU's engine: all of it runs without one."""

import json
from pathlib import Path

import pytest

from checkpoints import save_encoder
from honed_adapt.encoders.store import import_encoder, open_encoder
from honed_kernels.gpu.kernels import sources_hash
from honed_server.encoders.cuda.measure import measure


def test_a_dry_run_times_batches_threads_and_new_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET")
    source = save_encoder(tmp_path / "source", num_hidden_layers=1)
    files = open_encoder(tmp_path, import_encoder(source, tmp_path))
    found = measure(files, dry_run=True)
    assert json.loads(json.dumps(found)) == found
    assert found["dry_run"]
    assert found["encoder"] == files.digest
    assert found["kernels_sha256"] == sources_hash()
    assert "1 x 16 tokens" in found["batch_us"]
    times = [*found["batch_us"].values(), found["batch_with_a_new_head_us"]]
    assert all(0 < each["median"] <= each["p95"] for each in times)
    assert found["texts_per_s"] > 0
    assert found["compiled_while_serving"] == 0
