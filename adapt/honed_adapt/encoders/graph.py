"""The packed graph: an encoder as ONNX, written straight from a checkpoint's descriptions.

It stands between import and serving: `store.py` writes it once per encoder, the CPU engine
runs it. All texts of a batch lie one behind the other without padding; a block-diagonal mask
keeps each token among its own text. The graph holds no weights: each initialiser names its bytes
in the safetensors file beside it, which ONNX Runtime maps. So processes share those pages, new
weights need no export, and no torch is involved.

The form with the layers' products in integers is `quantise.py`'s: it says how each input is
rounded, and where the rounded weights lie.

Inputs, for T tokens of R texts:
    input_ids int64 (T,);
    position_ids int64 (T,), rows of the position table;
    row_ids int64 (T,), the text that a token belongs to;
    pool float32 (R, T), what each token adds to each text's vector.
Output: vectors float32 (R, hidden).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from honed_adapt.encoders.checkpoint import Architecture, Settings
from honed_adapt.encoders.families import (
    EMBEDDINGS_NORM,
    POSITIONS,
    TOKEN_TYPES,
    WORDS,
    Dense,
    LayerNames,
)
from honed_adapt.encoders.tensors import Span

_OPSET = 17
_IR_VERSION = 8
_FUSED = "com.microsoft"  # ONNX Runtime's own operators
_APART = -1e9  # added to a score between two texts: softmax makes it exactly 0
_BYTES = {"F32": 4, "I8": 1}
_TYPES = {"F32": TensorProto.FLOAT, "I8": TensorProto.INT8}


@dataclass(frozen=True, slots=True)
class Tensors:
    """A safetensors file that must lie beside the graph.

    Attributes:
        file: its name.
        spans: its tensors by name.
    """

    file: str
    spans: Mapping[str, Span]


@dataclass(frozen=True, slots=True)
class Rounding:
    """How one product is computed in integers: (x * factors rounded) @ integer weights.

    Attributes:
        factors: name of the float32 tensor (in,) that brings each channel of x to its step.
        zero_point: what 0 is rounded to, 0 to 254.
        per_token: whether each token's largest value becomes 255; else the factors hold the step.
    """

    factors: str
    zero_point: int
    per_token: bool = False


def packed_graph(
    architecture: Architecture,
    settings: Settings,
    weights: Tensors,
    integers: Tensors | None = None,
    roundings: Mapping[str, Rounding] | None = None,
) -> bytes:
    """Write the packed graph of an encoder.

    Args:
        architecture: what it computes.
        settings: what follows the pooling.
        weights: its float32 tensors.
        integers: for each product of `roundings` the weights `{name}.integers`, int8 (in, out), and
            `{name}.steps`, float32 (out,): what one step of its output is worth.
        roundings: the linear layers that are computed in integers, by name.

    Returns:
        The model as serialised ONNX: some kilobytes.
    """
    graph = _Graph(architecture, weights, integers, roundings or {})
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
        self,
        architecture: Architecture,
        weights: Tensors,
        integers: Tensors | None,
        roundings: Mapping[str, Rounding],
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self._architecture = architecture
        self._weights = weights
        self._integers = integers
        self._roundings = roundings
        self._constants: set[str] = set()
        self._rounded: dict[tuple[str, str], tuple[str, str]] = {}
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
        x = self.op("Add", words, positions)
        if self._architecture.token_types:
            x = self.op("Add", x, self._tensor(TOKEN_TYPES, row_0=True))
        return self._norm(EMBEDDINGS_NORM, x)

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
            self._number("within", 0),
            self._number("between", _APART),
        )

    def _inner(self, x: str, name: str) -> str:
        """The feed-forward part's first layer with its activation, (T, intermediate)."""
        if self._architecture.activation == "relu":
            return self.op("Relu", self._linear(x, name))
        kind = {"gelu": "BiasGelu", "gelu_new": "FastGelu"}[self._architecture.activation]
        return self.op(kind, self._product(x, name), self._tensor(f"{name}.bias"), domain=_FUSED)

    def _residual(self, y: str, x: str, linear: str, norm: str) -> str:
        """Linear layer, sum with `x` and layer norm."""
        return self._norm(norm, self.op("Add", self._linear(y, linear), x))

    def _norm(self, name: str, x: str) -> str:
        # Not SkipLayerNormalization, which has the sum within: it is ten times slower on a CPU.
        return self.op(
            "LayerNormalization",
            *(x, self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias")),
            axis=-1,
            epsilon=self._architecture.epsilon,
        )

    def _linear(self, x: str, name: str) -> str:
        return self._product(x, name, self._tensor(f"{name}.bias"))

    def _product(self, x: str, name: str, *bias: str) -> str:
        if name in self._roundings:
            return self._integer_product(x, name, *bias)
        # Gemm takes the weight as it lies in the file, (out, in): no transposed copy.
        return self.op("Gemm", x, self._tensor(f"{name}.weight"), *bias, transB=1)

    def _integer_product(self, x: str, name: str, *bias: str) -> str:
        rounding = self._roundings[name]
        zero = np.array(rounding.zero_point, np.uint8)
        zero_point = self._constant(f"zero_point_{zero}", zero)
        rounded, step = self._round(x, rounding, zero_point)
        inputs = (
            rounded,
            self._integer_tensor(f"{name}.integers"),
            self._number("one", 1),
            self._integer_tensor(f"{name}.steps"),
            zero_point,
            "",  # the weights' zero point is 0
        )
        if not step:
            return self.op("MatMulIntegerToFloat", *inputs, *bias, domain=_FUSED)
        product = self.op("Mul", self.op("MatMulIntegerToFloat", *inputs, domain=_FUSED), step)
        return self.op("Add", product, *bias) if bias else product

    def _round(self, x: str, rounding: Rounding, zero_point: str) -> tuple[str, str]:
        """What a product reads, (T, in), and each token's own step, (T, 1), if it has one."""
        if (x, rounding.factors) not in self._rounded:  # query, key and value read the same
            step, scaled = "", self.op("Mul", x, self._integer_tensor(rounding.factors))
            if rounding.per_token:
                share = self._number(
                    f"share_{rounding.zero_point}", 1 / (255 - rounding.zero_point)
                )
                largest = self.op("ReduceMax", scaled, axes=[-1], keepdims=1)
                step = self.op("Max", self.op("Mul", largest, share), self._number("tiny", 1e-9))
                scaled = self.op("Div", scaled, step)
            rounded = self.op("QuantizeLinear", scaled, self._number("one", 1), zero_point)
            self._rounded[x, rounding.factors] = rounded, step
        return self._rounded[x, rounding.factors]

    def _number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._constants.add(name)
            self.initialisers.append(numpy_helper.from_array(value, name))
        return name

    def _tensor(self, name: str, *, row_0: bool = False) -> str:
        """An initialiser that points into the weights."""
        return self._external(self._weights, name, row_0=row_0)

    def _integer_tensor(self, name: str) -> str:
        assert self._integers is not None, "roundings come with the tensors that they name"
        return self._external(self._integers, name)

    def _external(self, tensors: Tensors, name: str, *, row_0: bool = False) -> str:
        span = tensors.spans[name]
        dims = span.shape[1:] if row_0 else span.shape
        tensor = TensorProto(name=name, data_type=_TYPES[span.dtype], dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", tensors.file),
            ("offset", span.offset),
            ("length", prod(dims) * _BYTES[span.dtype]),
        ):
            tensor.external_data.add(key=key, value=str(value))
        self.initialisers.append(tensor)
        return name
