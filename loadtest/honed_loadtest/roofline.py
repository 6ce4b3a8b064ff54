"""How much work an encoder is, and a graph of nothing but its matrix products.

The roofline of a text is its work divided by the rate at which this machine computes those products
with as many tokens as a batch has, through the same ONNX Runtime. No encoder of that precision can
be faster, since activation functions, norms, softmax and pooling are left out.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from honed_adapt.encoders.checkpoint import Architecture

_OPSET, _IR_VERSION = 17, 9
INPUT, OUTPUT = "hidden_0", "out"


def flop(architecture: Architecture, tokens: int) -> float:
    """Floating point operations that a text of so many tokens needs at least.

    Each layer multiplies every token by the matrices of query, key, value and output (4 h h) and of
    the feed-forward part (2 h i), and every pair of tokens twice in attention (scores and mixture,
    2 n n h); a multiplication with its addition counts 2.
    """
    h, i = architecture.hidden, architecture.intermediate
    linear = tokens * (4 * h * h + 2 * h * i)
    attention = 2 * tokens * tokens * h
    return 2.0 * architecture.layers * (linear + attention)


def products_flop(architecture: Architecture, tokens: int) -> float:
    """What one run of `products` is."""
    return flop(architecture, tokens) - 4.0 * architecture.layers * tokens**2 * architecture.hidden


def products(architecture: Architecture, tokens: int) -> ModelProto:
    """A graph of the layers' linear products, one behind the other.

    All layers share one set of matrices, which then stays in the cache: the fastest case.

    Returns:
        From INPUT, float32 (tokens, hidden), to OUTPUT of the same shape.
    """
    h, i = architecture.hidden, architecture.intermediate
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(
            (random.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32), name
        )
        for name, shape in {"qkv": (h, 3 * h), "o": (h, h), "up": (h, i), "down": (i, h)}.items()
    ]
    bounds = [numpy_helper.from_array(np.array([n]), name) for name, n in _BOUNDS.items()]
    bounds.append(numpy_helper.from_array(np.array([h]), "hidden"))
    nodes: list[NodeProto] = []
    for layer in range(architecture.layers):
        nodes += _layer(layer, OUTPUT if layer == architecture.layers - 1 else "")
    shape = (tokens, h)
    graph = helper.make_graph(
        nodes, "products",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
        [*weights, *bounds],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


_BOUNDS = {"zero": 0, "one": 1}


def _layer(number: int, output: str) -> list[NodeProto]:
    def name(stage: str) -> str:
        return f"{stage}_{number}"

    return [
        helper.make_node("MatMul", [name("hidden"), "qkv"], [name("all")]),
        # Attention would make (tokens, h) of (tokens, 3 h).
        helper.make_node("Slice", [name("all"), "zero", "hidden", "one"], [name("mixed")]),
        helper.make_node("MatMul", [name("mixed"), "o"], [name("projected")]),
        helper.make_node("MatMul", [name("projected"), "up"], [name("wide")]),
        helper.make_node("MatMul", [name("wide"), "down"], [output or f"hidden_{number + 1}"]),
    ]
