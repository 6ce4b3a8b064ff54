"""The packed graph: an encoder as ONNX, written straight from a checkpoint's descriptions.

It stands between import and serving: `encoder_store.py` writes it once per encoder, the CPU engine
runs it. All texts of a batch lie one behind the other without padding; a block-diagonal mask
keeps each token among its own text. The graph holds no weights: each initialiser names its bytes
in the safetensors file beside it, which ONNX Runtime maps. So processes share those pages, new
weights need no export, and no torch is involved.

Inputs, for T tokens of R texts:
    input_ids int64 (T,);
    position_ids int64 (T,), from 0 in each text;
    row_ids int64 (T,), the text that a token belongs to;
    pool float32 (R, T), what each token adds to each text's vector.
Output: vectors float32 (R, hidden).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from honed_adapt.checkpoint import WORD_TABLE, BertShape, EncoderUnsupported, Span

_OPSET = 17
_IR_VERSION = 8
_FUSED = "com.microsoft"  # ONNX Runtime's own operators
_APART = -1e9  # added to a score between two texts: softmax makes it exactly 0
_FLOAT_BYTES = 4


def packed_graph(
    shape: BertShape, spans: Mapping[str, Span], *, normalise: bool, weights_file: str
) -> bytes:
    """Write the packed graph of a BERT encoder.

    Args:
        shape: the encoder's sizes.
        spans: its tensors by name, with or without the prefix `bert.`.
        normalise: whether vectors get length 1.
        weights_file: name of the safetensors file, which must lie beside the graph.

    Returns:
        The model as serialised ONNX: some kilobytes.

    Raises:
        EncoderUnsupported: naming a tensor that is missing or has another shape or type.
    """
    graph = _Graph(shape, spans, weights_file)
    tokens = graph.embeddings()
    for layer in range(shape.layers):
        tokens = graph.layer(tokens, f"encoder.layer.{layer}")
    vectors = graph.op("MatMul", "pool", tokens)
    if normalise:
        vectors = graph.op("LpNormalization", vectors, axis=-1, p=2)
    graph.op("Identity", vectors, output="vectors")
    return _serialised(graph, shape.hidden)


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

    def __init__(self, shape: BertShape, spans: Mapping[str, Span], weights_file: str) -> None:
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self._shape = shape
        self._spans = spans
        self._weights_file = weights_file
        self._prefix = "bert." if f"bert.{WORD_TABLE}" in spans else ""
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
        hidden = self._shape.hidden
        words = self._tensor(WORD_TABLE, None, hidden)
        positions = self._tensor(
            "embeddings.position_embeddings.weight", self._shape.positions, hidden
        )
        return self._norm(
            self.op("Gather", words, "input_ids"),
            self.op("Gather", positions, "position_ids"),
            "embeddings.LayerNorm",
            self._tensor("embeddings.token_type_embeddings.weight", None, hidden, row_0=True),
        )

    def layer(self, x: str, at: str) -> str:
        """One transformer layer, (T, hidden) to (T, hidden)."""
        hidden, intermediate = self._shape.hidden, self._shape.intermediate
        x = self._residual(self._attention(x, f"{at}.attention.self"), x, f"{at}.attention.output")
        inner = self._product(x, f"{at}.intermediate.dense", intermediate, hidden)
        bias = self._tensor(f"{at}.intermediate.dense.bias", intermediate)
        inner = self.op("BiasGelu", inner, bias, domain=_FUSED)
        return self._residual(inner, x, f"{at}.output", inner=intermediate)

    def _attention(self, x: str, at: str) -> str:
        query, key, value = (self._projection(x, f"{at}.{n}") for n in ("query", "key", "value"))
        context = self.op(
            "MultiHeadAttention",  # scales by 1/sqrt(hidden/heads) itself
            *(query, key, value, "", "", self._mask),  # no bias, no padding
            domain=_FUSED,
            num_heads=self._shape.heads,
        )
        return self.op("Squeeze", context, self._batch_axis)

    def _projection(self, x: str, name: str) -> str:
        hidden = self._shape.hidden
        product = self._product(x, name, hidden, hidden, bias=True)
        return self.op("Unsqueeze", product, self._batch_axis)

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

    def _product(self, x: str, name: str, out: int, inner: int, *, bias: bool = False) -> str:
        # Gemm takes the weight as it lies in the file, (out, inner): no transposed copy.
        inputs = [x, self._tensor(f"{name}.weight", out, inner)]
        if bias:
            inputs.append(self._tensor(f"{name}.bias", out))
        return self.op("Gemm", *inputs, transB=1)

    def _residual(self, y: str, x: str, at: str, *, inner: int | None = None) -> str:
        """Linear layer, sum with `x` and layer norm; the fused node adds the layer's bias."""
        hidden = self._shape.hidden
        y = self._product(y, f"{at}.dense", hidden, inner or hidden)
        return self._norm(y, x, f"{at}.LayerNorm", self._tensor(f"{at}.dense.bias", hidden))

    def _norm(self, y: str, x: str, at: str, bias: str) -> str:
        hidden = self._shape.hidden
        scale, shift = self._tensor(f"{at}.weight", hidden), self._tensor(f"{at}.bias", hidden)
        return self.op(
            "SkipLayerNormalization",
            *(y, x, scale, shift, bias),
            domain=_FUSED,
            epsilon=self._shape.epsilon,
        )

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initialisers.append(numpy_helper.from_array(value, name))
        return name

    def _tensor(self, name: str, *shape: int | None, row_0: bool = False) -> str:
        """An initialiser that points into the weights; None in `shape` stands for any size."""
        span = self._span(name, shape)
        dims = span.shape[1:] if row_0 else span.shape
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", self._weights_file),
            ("offset", span.offset),
            ("length", int(np.prod(dims)) * _FLOAT_BYTES),
        ):
            tensor.external_data.add(key=key, value=str(value))
        self.initialisers.append(tensor)
        return name

    def _span(self, name: str, shape: tuple[int | None, ...]) -> Span:
        span = self._spans.get(self._prefix + name)
        if span is None:
            raise EncoderUnsupported(f"the weights lack the tensor {self._prefix + name}")
        if span.dtype != "F32":
            raise EncoderUnsupported(f"{name} is {span.dtype}; Honed serves float32 weights")
        if len(span.shape) != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, span.shape, strict=True)
        ):
            raise EncoderUnsupported(f"{name} has shape {span.shape}; config.json says {shape}")
        return span
