"""The encoder on GPUs, behind the same door as the one on CPU (`generations.Encoder`)."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from honed_adapt.encoders.store import EncoderFiles
from honed_kernels.head import HeadNotFinite, HeadOutput, HeadWeights, grouped_head
from honed_kernels.status import NO_HEAD, NOT_FINITE
from honed_server.encoders.cuda.graphs import Graphs
from honed_server.encoders.cuda.replica import TOP_K, Found, Lane, Replica
from honed_server.encoders.cuda.shapes import Ids, runs

LANES = 2
"""Batches under way on a device: one runs, one is prepared."""


class TorchEncoder:
    """Turns token ids into vectors and answers. Several threads may share it.

    Args:
        files: the encoder, in the precision to compute in.
        places: the devices, each with a copy of it.
        most_tokens: of a batch on a device; larger ones are split. By default what is worth it.

    Raises:
        EncoderDamaged: if its vectors are not those that were recorded at import.
    """

    def __init__(
        self, files: EncoderFiles, places: Sequence[Graphs], most_tokens: int | None = None
    ) -> None:
        self.digest = files.digest
        self.precision = files.precision
        self.hidden = files.hidden
        replicas = [Replica(files, graphs, most_tokens) for graphs in places]
        self._largest = replicas[0].shapes[-1]
        self._lanes: SimpleQueue[Lane] = SimpleQueue()
        for lane in [replica.lane() for _ in range(LANES) for replica in replicas]:
            probed = self._run(lane, files.probes.rows, [], np.full(len(files.probes.rows), -1))
            files.check(probed.vectors, files.weights)
            self._lanes.put(lane)

    def widen(self, threads: int) -> None:
        """Nothing: a lone text has the whole device already."""

    def encode(self, rows: Sequence[Ids], *, lone: bool = False) -> NDArray[np.float32]:
        """Encode a batch of texts.

        Args:
            rows: token ids of each text, int64 (tokens,), none empty.
            lone: makes no difference here.

        Returns:
            float32 (rows, hidden).
        """
        if not rows:
            return np.empty((0, self.hidden), np.float32)
        return self._found(rows, [], np.full(len(rows), -1)).vectors

    def answer(
        self,
        rows: Sequence[Ids],
        heads: Sequence[HeadWeights],
        head_id: NDArray[np.int64],
        *,
        top_k: Sequence[int],
        logits: bool = False,
        lone: bool = False,
    ) -> tuple[HeadOutput, NDArray[np.float32]]:
        """Encode a batch of texts and score each with its head, on the device.

        The graphs find the `TOP_K` best labels of heads that fit the table. What is asked beyond
        that, logits among it, is computed from the vectors on the CPU.

        Args:
            rows: as for `encode`.
            heads: all for vectors of this length.
            head_id: int64 (rows,), each an index into `heads`.
            top_k: labels to return for each row.
            logits: whether to return every label's logits.
            lone: makes no difference here.

        Returns:
            As `honed_kernels.head.grouped_head` does, and the vectors, float32 (rows, hidden).

        Raises:
            HeadNotFinite: if a row's logits are not finite.
        """
        picked = head_id.tolist()
        found = self._found(rows, heads, head_id)
        vectors = found.vectors
        if logits:
            return grouped_head(vectors, head_id, heads, top_k=top_k, logits=True), vectors
        if (broken := found.status & NOT_FINITE).any():
            raise HeadNotFinite(picked[int(broken.argmax())])
        depth = [min(k, len(heads[head].bias)) for k, head in zip(top_k, picked, strict=True)]
        output = HeadOutput(
            [ids[:k].astype(np.int64) for ids, k in zip(found.ids, depth, strict=True)],
            [best[:k] for best, k in zip(found.probabilities, depth, strict=True)],
            found.energy,
            None,
        )
        left = [n for n, k in enumerate(depth) if k > TOP_K or found.status[n] & NO_HEAD]
        if left:
            deep = [depth[n] for n in left]
            rest = grouped_head(vectors[left], head_id[left], heads, top_k=deep)
            for place, n in enumerate(left):
                output.indices[n] = rest.indices[place]
                output.probabilities[n] = rest.probabilities[place]
                output.energy[n] = rest.energy[place]
        return output, vectors

    def _found(self, rows: Sequence[Ids], heads: Sequence[HeadWeights], head_id: Ids) -> Found:
        lane = self._lanes.get()
        try:
            return self._run(lane, rows, heads, head_id)
        finally:
            self._lanes.put(lane)

    def _run(
        self, lane: Lane, rows: Sequence[Ids], heads: Sequence[HeadWeights], head_id: Ids
    ) -> Found:
        parts = runs(rows, self._largest)
        results = [lane.replica.run(lane, rows[part], heads, head_id[part]) for part in parts]
        return Found.of(np.concatenate(results))
