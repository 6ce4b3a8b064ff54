"""What every peer serves: a classifier as a padded ONNX graph, as its users would write it.

It runs in the environment of each peer and needs nothing but numpy, onnxruntime and tokenizers.
`model.py` made the folder that it reads.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers
from numpy.typing import NDArray

VARIABLE = "HONED_PEER"
"""Environment variable that tells a peer's processes their settings, and marks them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a peer serves.

    Attributes:
        threads: of ONNX Runtime within a run.
        workers: copies of the model, where the peer can have several.
        batch: most texts of a batch.
        wait_ms: how long a batch waits for more texts.
        group: texts of similar length that run together; 0 runs a batch as it came.
    """

    threads: int = 2
    workers: int = 1
    batch: int = 32
    wait_ms: float = 10.0
    group: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What a peer's process is told.

    Attributes:
        folder: what to serve, as `model.py` made it.
        port: where.
        spare_port: for a second protocol, where that cannot be turned off.
        settings: how.
    """

    folder: str
    port: int
    spare_port: int
    settings: Settings

    @staticmethod
    def given() -> "Order":
        """The order that this process was started with."""
        told = json.loads(os.environ[VARIABLE])
        return Order(**told | {"settings": Settings(**told["settings"])})


class Classifier:
    """Answers texts with their best label and its probability.

    Args:
        order: which folder, with how many threads and texts a run.
    """

    def __init__(self, order: Order) -> None:
        folder = Path(order.folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = order.settings.threads
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(256)
        self._labels = json.loads((folder / "labels.json").read_text())
        self._group = order.settings.group

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The answers in the order of the texts, at least one."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        order = np.arange(len(rows))
        if self._group:
            order = np.argsort([len(row) for row in rows], kind="stable")
        size = self._group or len(rows)
        logits = np.empty((len(rows), len(self._labels)), np.float32)
        for at in range(0, len(rows), size):
            logits[order[at : at + size]] = self._run([rows[n] for n in order[at : at + size]])
        weights = np.exp(logits - logits.max(1, keepdims=True))
        shares = weights.max(1) / weights.sum(1)
        best = logits.argmax(1).tolist()
        return [(self._labels[n], share) for n, share in zip(best, shares.tolist(), strict=True)]

    def _run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Logits (rows, labels), padded to the longest row."""
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, np.int64)
        ids[mask] = np.concatenate(rows)
        inputs = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
        (logits,) = self._session.run(None, inputs)
        return np.asarray(logits, np.float32)
