"""The packed graph: an encoder as ONNX, written straight from a checkpoint's descriptions.

It stands between import and serving: `encoder_store.py` writes it once per encoder, the CPU engine
runs it. All texts of a batch lie one behind the other without padding; a block-diagonal mask
keeps each token among its own text. The graph holds no weights: each initialiser names its bytes
in the safetensors file beside it, which ONNX Runtime maps. So processes share those pages, new
weights need no export, and no torch is involved.

Inputs, for T tokens of R texts:
    input_ids int64 (T,);
    position_ids int64 (T,), rows of the position table;
    row_ids int64 (T,), the text that a token belongs to;
    pool float32 (R, T), what each token adds to each text's vector.
Output: vectors float32 (R, hidden).
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from honed_adapt.checkpoint import Architecture, Settings
from honed_adapt.families import (
    EMBEDDINGS_NORM,
    POSITIONS,
    TOKEN_TYPES,
    WORDS,
    Dense,
    LayerNames,
)
from honed_adapt.tensors import Span

_OPSET = 17
_IR_VERSION = 8
_FUSED = "com.microsoft"  # ONNX Runtime's own operators
_APART = -1e9  # added to a score between two texts: softmax makes it exactly 0
_FLOAT_BYTES = 4


def packed_graph(
    architecture: Architecture, settings: Settings, spans: Mapping[str, Span], weights_file: str
) -> bytes:
    """Write the packed graph of an encoder.

    Args:
        architecture: what it computes.
        settings: what follows the pooling.
        spans: its float32 tensors by name.
        weights_file: name of the safetensors file, which must lie beside the graph.

    Returns:
        The model as serialised ONNX: some kilobytes.
    """
    graph = _Graph(architecture, spans, weights_file)
    tokens = graph.embeddings()
    for names in architecture.layer_names():
        tokens = graph.layer(tokens, names)
    vectors = graph.op("MatMul", "pool", tokens)
    if settings.dense:
        vectors = graph.dense(vectors, settings.dense)
    if settings.normalise:
        vectors = graph.op("LpNormalization", vectors, axis=-1, p=2)
    graph.op("Identity", vectors, output="vectors")
    return _serialised(graph, architecture.hidden)


def _serialised(graph: "_Graph", hidden: int) -> bytes:
    integers, floats = TensorProto.INT64, TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info("input_ids", integers, ["tokens"]),
        helper.make_tensor_value_info("position_ids", integers, ["tokens"]),
        helper.make_tensor_value_info("row_ids", integers, ["tokens"]),
        helper.make_tensor_value_info("pool", floats, ["rows", "tokens"]),
    ]
    outputs = [helper.make_tensor_value_info("vectors", floats, ["rows", hidden])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "packed", inputs, outputs, graph.initialisers),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)],
        ir_version=_IR_VERSION,
        producer_name="honed",
    )
    return model.SerializeToString(deterministic=True)


class _Graph:
    """Collects nodes and initialisers; a value is called by its ONNX name."""

    def __init__(
        self, architecture: Architecture, spans: Mapping[str, Span], weights_file: str
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self._architecture = architecture
        self._spans = spans
        self._weights_file = weights_file
        self._batch_axis = self._constant("batch_axis", np.array([0]))
        self._mask = self._block_diagonal()

    def op(
        self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add a node; returns the name of its output."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def embeddings(self) -> str:
        """Word, position and token type (always 0: single texts), normalised: (T, hidden)."""
        words = self.op("Gather", self._tensor(WORDS), "input_ids")
        positions = self.op("Gather", self._tensor(POSITIONS), "position_ids")
        types = [self._tensor(TOKEN_TYPES, row_0=True)] if self._architecture.token_types else []
        return self._norm(EMBEDDINGS_NORM, words, positions, *types)

    def layer(self, x: str, names: LayerNames) -> str:
        """One transformer layer, (T, hidden) to (T, hidden)."""
        x = self._residual(self._attention(x, names), x, names.context, names.context_norm)
        return self._residual(self._inner(x, names.inner), x, names.outer, names.outer_norm)

    def dense(self, x: str, dense: Dense) -> str:
        """The layer after pooling, (R, hidden) to (R, hidden)."""
        kinds = {"tanh": "Tanh", "relu": "Relu"}
        return self.op(kinds[dense.activation], self._linear(x, dense.name))

    def _attention(self, x: str, names: LayerNames) -> str:
        query, key, value = (
            self.op("Unsqueeze", self._linear(x, name), self._batch_axis)
            for name in (names.query, names.key, names.value)
        )
        context = self.op(
            "MultiHeadAttention",  # scales by 1/sqrt(hidden/heads) itself
            *(query, key, value, "", "", self._mask),  # no bias, no padding
            domain=_FUSED,
            num_heads=self._architecture.heads,
        )
        return self.op("Squeeze", context, self._batch_axis)

    def _block_diagonal(self) -> str:
        """What is added to the scores, (1, 1, T, T): 0 within a text, -1e9 between texts."""
        down = self.op("Unsqueeze", "row_ids", self._constant("down", np.array([0, 1, 3])))
        across = self.op("Unsqueeze", "row_ids", self._constant("across", np.array([0, 1, 2])))
        return self.op(
            "Where",
            self.op("Equal", down, across),
            self._constant("within", np.array(0, np.float32)),
            self._constant("between", np.array(_APART, np.float32)),
        )

    def _inner(self, x: str, name: str) -> str:
        """The feed-forward part's first layer with its activation, (T, intermediate)."""
        if self._architecture.activation == "relu":
            return self.op("Relu", self._linear(x, name))
        kind = {"gelu": "BiasGelu", "gelu_new": "FastGelu"}[self._architecture.activation]
        return self.op(kind, self._product(x, name), self._tensor(f"{name}.bias"), domain=_FUSED)

    def _residual(self, y: str, x: str, linear: str, norm: str) -> str:
        """Linear layer, sum with `x` and layer norm; the fused node adds the layer's bias."""
        return self._norm(norm, self._product(y, linear), x, self._tensor(f"{linear}.bias"))

    def _norm(self, name: str, y: str, x: str, *bias: str) -> str:
        return self.op(
            "SkipLayerNormalization",
            *(y, x, self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"), *bias),
            domain=_FUSED,
            epsilon=self._architecture.epsilon,
        )

    def _linear(self, x: str, name: str) -> str:
        return self._product(x, name, self._tensor(f"{name}.bias"))

    def _product(self, x: str, name: str, *bias: str) -> str:
        # Gemm takes the weight as it lies in the file, (out, in): no transposed copy.
        return self.op("Gemm", x, self._tensor(f"{name}.weight"), *bias, transB=1)

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initialisers.append(numpy_helper.from_array(value, name))
        return name

    def _tensor(self, name: str, *, row_0: bool = False) -> str:
        """An initialiser that points into the weights."""
        span = self._spans[name]
        dims = span.shape[1:] if row_0 else span.shape
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", self._weights_file),
            ("offset", span.offset),
            ("length", prod(dims) * _FLOAT_BYTES),
        ):
            tensor.external_data.add(key=key, value=str(value))
        self.initialisers.append(tensor)
        return name
