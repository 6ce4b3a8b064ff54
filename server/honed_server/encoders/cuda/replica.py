"""An encoder on one device: its weights, a graph for each size of batch, and the heads behind it.

It stands in the middle of the predict journey on a GPU. One batch is laid out and copied while the
one before runs: each of its `Lane`s is used by one thread, and only launching takes turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from honed_adapt.encoders.store import EncoderFiles, Precision
from honed_kernels.bank import Bank
from honed_kernels.head import HeadWeights
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.ops.pool import pool
from honed_server.encoders.cuda.graphs import Graphs
from honed_server.encoders.cuda.heads import NO_NUMBER, Heads, warm
from honed_server.encoders.cuda.model import Model
from honed_server.encoders.cuda.shapes import Ids, Shape, shapes_up_to, smallest

log = structlog.get_logger(__name__)

TOP_K = 8
"""Labels that a graph finds for each row."""

_BESIDE_VECTOR = 2 * TOP_K + 2  # numbers of an answer

_TYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a batch came to, row by row.

    Attributes:
        vectors: float32 (rows, hidden).
        probabilities: float32 (rows, TOP_K), best first; 0 past the head's labels.
        energy: float32 (rows,), see `honed_kernels.head.HeadOutput`.
        ids: int32 (rows, TOP_K): labels.
        status: int32 (rows,), see `honed_kernels.status`.
    """

    vectors: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    energy: NDArray[np.float32]
    ids: NDArray[np.int32]
    status: NDArray[np.int32]

    @staticmethod
    def of(results: NDArray[np.float32]) -> Found:
        """Read the rows that `_Step` writes."""
        integers = results.view(np.int32)
        best = results.shape[1] - _BESIDE_VECTOR
        return Found(
            results[:, :best],
            results[:, best : best + TOP_K],
            results[:, best + TOP_K],
            integers[:, best + TOP_K + 1 : -1],
            integers[:, -1],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """What one batch under way needs for itself.

    Attributes:
        replica: that it runs on.
        packed: the input as the host lays it out, int32.
        staged: the same on the device, until it is its turn.
        results: the answer as it comes back.
    """

    replica: Replica
    packed: Tensor
    staged: Tensor
    results: Tensor


class Replica:
    """An encoder on one device.

    Args:
        files: the encoder, in the precision to compute in.
        graphs: the device.
        most_tokens: of the largest batch; by default as many as are worth it. A text always fits.
    """

    def __init__(self, files: EncoderFiles, graphs: Graphs, most_tokens: int | None = None) -> None:
        self._graphs = graphs
        self._padding = files.architecture.padding
        # Made on the stream that uses them: what comes later finds them complete.
        make, device = graphs.serving.make, graphs.device
        model = make(partial(Model, files, device, _TYPES[files.precision]))
        self.shapes = shapes_up_to(max(most_tokens or model.most_tokens, files.max_tokens))
        self._step = make(partial(_Step, model, files, self.shapes[-1], device))
        self._heads = Heads(files.hidden, graphs)
        self._lock = Lock()
        self._replays: dict[Shape, Callable[[], None]] = {}
        warm(files.hidden, graphs, TOP_K)
        self._capture()

    def lane(self) -> Lane:
        """What one thread more needs to have a batch under way."""
        size = (self.shapes[-1].size,)
        return Lane(
            self,
            self._graphs.host(size, torch.int32),
            torch.empty(size, dtype=torch.int32, device=self._graphs.device),
            self._graphs.host(tuple(self._step.results.shape), torch.float32),
        )

    def run(
        self, lane: Lane, rows: Sequence[Ids], heads: Sequence[HeadWeights], head_id: Ids
    ) -> NDArray[np.float32]:
        """Compute one batch.

        Args:
            lane: of this replica, in nobody else's hands.
            rows: token ids of each text, int64 (tokens,), none empty; they fit the last shape.
            heads: all for vectors of this length.
            head_id: int64 (rows,), each an index into `heads`, or -1 for its vector only.

        Returns:
            What `Found` reads, (rows, hidden + 2 TOP_K + 2).
        """
        shape = smallest(self.shapes, rows)
        with self._lock:
            numbers = np.array([*self._numbers(heads), NO_NUMBER])  # the last one is at -1
        shape.pack(rows, numbers[head_id], self._padding, lane.packed.numpy())
        self._launch(lane, shape, len(rows))()
        results: NDArray[np.float32] = lane.results[: len(rows)].numpy().copy()
        return results

    def _launch(self, lane: Lane, shape: Shape, rows: int) -> Callable[[], None]:
        """Queue a batch that is laid out; returns what waits for it."""
        step, size = self._step, shape.size

        def bring() -> None:
            lane.staged[:size].copy_(lane.packed[:size], non_blocking=True)

        def compute() -> None:
            step.inputs[:size].copy_(lane.staged[:size], non_blocking=True)
            # While graphs are captured anew, the same work is launched piece by piece.
            self._replays.get(shape, partial(step.run, shape, self._heads.bank))()
            lane.results[:rows].copy_(step.results[:rows], non_blocking=True)

        self._graphs.copying.run(bring)
        brought = self._graphs.copying.record()
        with self._lock:
            self._graphs.serving.wait(brought)
            self._graphs.serving.run(compute)
            return self._graphs.mark()

    def _numbers(self, heads: Sequence[HeadWeights]) -> list[int]:
        numbers = [self._heads.number(head) for head in heads]
        if self._heads.grown():
            self._graphs.mark()()  # graphs may not be dropped while they run
            self._replays.clear()
            self._heads.switch()
            Thread(target=self._capture_again, name="capture", daemon=True).start()
        return numbers

    def _capture_again(self) -> None:
        try:
            self._capture()
        except Exception:  # at the end of a thread: who waits for an answer is not concerned
            log.exception("no graph for some sizes: such batches are launched piece by piece")

    def _capture(self) -> None:
        """Capture the graphs that are missing, the largest first: the others fit its memory."""
        for shape in reversed(self.shapes):
            with self._lock:
                if shape not in self._replays:
                    self._graphs.serving.run(self._step.clear)
                    step = partial(self._step.run, shape, self._heads.bank)
                    self._replays[shape] = self._graphs.capture(step)


class _Step:
    """All that a device does for a batch, from and to fixed addresses.

    Attributes:
        inputs: int32, as `Shape.parts` divides it.
        results: float32 (rows, hidden + 2 TOP_K + 2): vector, probabilities, energy, and the bits
            of the labels' int32 ids and of the int32 status.
    """

    def __init__(
        self, model: Model, files: EncoderFiles, largest: Shape, device: torch.device
    ) -> None:
        self._model = model
        self._settings = files.settings
        self.inputs = torch.zeros(largest.size, dtype=torch.int32, device=device)
        width = files.hidden + _BESIDE_VECTOR
        self.results = torch.zeros(largest.rows, width, dtype=torch.float32, device=device)

    def clear(self) -> None:
        """Make an input that any shape can read: another's has lengths where this has tokens."""
        self.inputs.zero_()

    def run(self, shape: Shape, bank: Bank) -> None:
        """Answer what `inputs` holds."""
        cu_seqlens, head_id, input_ids, position_ids = (self.inputs[part] for part in shape.parts)
        states = self._model.states(input_ids, position_ids, cu_seqlens)
        settings = self._settings
        normalize = settings.normalise and settings.dense is None
        vectors, _ = pool(states, cu_seqlens, kind=settings.pooling, normalize=normalize)
        vectors = self._model.dense(vectors)
        scores = grouped_head(vectors, head_id, bank, top_k=TOP_K)
        integers = torch.cat([scores.ids, scores.status[:, None]], 1).view(torch.float32)
        parts = [vectors, scores.probabilities, scores.energy[:, None], integers]
        torch.cat(parts, 1, out=self.results[: shape.rows])
