"""The encoder on CPU: ONNX Runtime over the packed graph.

It stands in the middle of the predict journey: a worker hands it the token ids of a batch and gets
one vector per text. Several workers share one session with one thread each (as fast as a process
per core, and one copy of the weights: docs/measurements.md); a wide session may answer lone texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from honed_adapt.encoders.store import EncoderFiles
from honed_kernels.head import HeadOutput, HeadWeights, grouped_head
from honed_server.encoders.packing import positions

_ERROR = 3  # ONNX Runtime's log level: its warnings are about graphs, not about requests


class OnnxEncoder:
    """Turns token ids into vectors. Several threads may share it.

    Args:
        files: the encoder.

    Raises:
        EncoderDamaged: if its vectors are not those that were recorded at import.
    """

    def __init__(self, files: EncoderFiles) -> None:
        self.digest = files.digest
        self.precision = files.precision
        self.hidden = files.hidden
        self._files = files
        self._session = self._wide = _session(files, threads=1)

    def widen(self, threads: int) -> None:
        """Gives lone batches a session of so many threads; 1 takes it away. Workers may be running.

        The session packs the layers' weights again (42 MB for MiniLM); all else is shared.
        """
        self._wide = _session(self._files, threads) if threads > 1 else self._session

    def encode(
        self, rows: Sequence[NDArray[np.int64]], *, lone: bool = False
    ) -> NDArray[np.float32]:
        """Encode a batch of texts.

        Attention takes time and memory by the square of the batch's tokens: keep to some hundreds.

        Args:
            rows: token ids of each text, int64 (tokens,), none empty.
            lone: that the other cores are idle; an encoder that was widened then uses them.

        Returns:
            float32 (rows, hidden).
        """
        if not rows:
            return np.empty((0, self.hidden), np.float32)
        session = self._wide if lone else self._session
        return _run(session, self._files, rows)

    def answer(
        self,
        rows: Sequence[NDArray[np.int64]],
        heads: Sequence[HeadWeights],
        head_id: NDArray[np.int64],
        *,
        top_k: Sequence[int],
        logits: bool = False,
        lone: bool = False,
    ) -> tuple[HeadOutput, NDArray[np.float32]]:
        """Encode a batch of texts and score each with its head; arguments as in `grouped_head`."""
        vectors = self.encode(rows, lone=lone)
        return grouped_head(vectors, head_id, heads, top_k=top_k, logits=logits), vectors


def _run(
    session: onnxruntime.InferenceSession,
    files: EncoderFiles,
    rows: Sequence[NDArray[np.int64]],
) -> NDArray[np.float32]:
    vectors: NDArray[np.float32]
    (vectors,) = session.run(["vectors"], _packed_inputs(files, rows))
    return vectors


def _packed_inputs(
    files: EncoderFiles, rows: Sequence[NDArray[np.int64]]
) -> Mapping[str, NDArray[np.int64] | NDArray[np.float32]]:
    """Lay texts one behind the other, as `honed_adapt.encoders.graph` describes its inputs."""
    lengths = np.array([row.size for row in rows])
    assert lengths.all(), "the tokenizer gives each text at least its special tokens"
    starts = np.cumsum(lengths) - lengths
    row_ids = np.repeat(np.arange(len(rows)), lengths)
    input_ids = np.concatenate(rows)
    pool = np.zeros((len(rows), input_ids.size), np.float32)
    if files.settings.pooling == "mean":
        pool[row_ids, np.arange(input_ids.size)] = 1 / lengths[row_ids]
    else:
        pool[np.arange(len(rows)), starts] = 1
    return {
        "input_ids": input_ids,
        "position_ids": positions(input_ids, row_ids, starts, files.architecture.padding),
        "row_ids": row_ids,
        "pool": pool,
    }


def _session(files: EncoderFiles, threads: int) -> onnxruntime.InferenceSession:
    """A session that has proved itself; its first run, which allocates, is over as well."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERROR
    # The graph is written as it shall run; a further level would fuse the layer norms into an
    # operator that is ten times slower.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Both keep what the largest batch ever needed, or a plan for every shape ever seen. Without
    # them a run is as fast, and memory returns to the system (docs/measurements.md).
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Busy-wait for the next operator of a run, not after it: then the core is another process's.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(threads > 1)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        str(files.graph), options, providers=["CPUExecutionProvider"]
    )
    files.check(_run(session, files, files.probes.rows))
    return session
