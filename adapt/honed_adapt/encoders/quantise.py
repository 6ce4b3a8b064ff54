"""The encoder in integers: the layers' products with 8-bit inputs and 7-bit weights.

It stands beside import and runs in the trainer process: from a stored encoder it writes a second
graph and its weights into the same folder. Whether it may serve is decided elsewhere, by labels.

The scheme is SmoothQuant (Xiao et al. 2023, arXiv:2211.10438): each channel of a product's input
is divided by a factor that moves its outliers into the weights. A text's answer must not depend
on the texts beside it, so the step that an input is rounded to is fixed beforehand, or, after the
activation, where few tokens are ten times larger than the others, it is the token's own. Each
output of the weights has its step. Seven bits keep the sum of two products within 16 bits:
processors without VNNI saturate there, and the vectors would depend on the processor. The ranges
come from random tokens: no text of a user leaves a trace, and the same encoder gives the same
files. What else was tried, and figures: docs/measurements.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from honed_adapt.encoders.checkpoint import Architecture
from honed_adapt.encoders.graph import Rounding, Tensors, packed_graph
from honed_adapt.encoders.store import INTEGER_GRAPH, INTEGERS, EncoderFiles
from honed_adapt.encoders.tensors import read_spans

if TYPE_CHECKING:
    from onnx import ModelProto

Floats = NDArray[np.float32]

_INPUT_STEPS = 255
_WEIGHT_STEPS = 63
# How much of the outliers moves into the weights, for a fixed step and for one by token: the least
# error of 0.5 to 0.9 and of 0.2 to 0.8 (docs/measurements.md).
_SMOOTHING, _SMOOTHING_BY_TOKEN = 0.7, 0.5
# What 0 becomes where the step is the token's own: activations reach far only above 0.
_ZERO_BY_TOKEN = 64
_SMALLEST = 1e-5
# Random texts: most as short as questions are, some as long as the encoder reads.
_SHORT_TEXTS, _LONG_TEXTS, _SHORTEST, _SHORT, _LONG = 192, 12, 4, 48, 256
_SEED = 0


class NotQuantisable(Exception):
    """The encoder's activations are not finite, so no range holds them; it serves in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Range:
    """What random tokens made of one product's input: least and largest of each channel, (in,)."""

    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One product in integers: weights int8 (in, out) and output steps (out,)."""

    integers: NDArray[np.int8]
    steps: Floats


def quantise(files: EncoderFiles, folder: Path) -> None:
    """Write the integer graph and its weights; some seconds of one core.

    Args:
        files: a stored encoder, in float32.
        folder: where to write; the float32 weights must come to lie beside it.

    Raises:
        NotQuantisable: no range can be found.
    """
    tensors: dict[str, NDArray[np.generic]] = {}
    roundings: dict[str, Rounding] = {}
    weights, ranges = load_file(files.weights), input_ranges(files)
    after_activation = {names.outer for names in files.architecture.layer_names()}
    for group in _groups(files.architecture):
        matrices = [weights[f"{name}.weight"] for name in group]
        by_token = group[0] in after_activation
        factors, zero_point, products = rounded(matrices, ranges[group[0]], by_token=by_token)
        tensors[f"{group[0]}.factors"] = factors
        for name, product in zip(group, products, strict=True):
            tensors[f"{name}.integers"] = product.integers
            tensors[f"{name}.steps"] = product.steps
            roundings[name] = Rounding(f"{group[0]}.factors", zero_point, by_token)
    save_file(tensors, folder / INTEGERS)
    graph = packed_graph(
        files.architecture,
        files.settings,
        Tensors(files.weights.name, read_spans(files.weights)),
        Tensors(INTEGERS, read_spans(folder / INTEGERS)),
        roundings,
    )
    (folder / INTEGER_GRAPH).write_bytes(graph)


def rounded(
    matrices: Sequence[Floats], seen: Range, *, by_token: bool = False
) -> tuple[Floats, int, list[Product]]:
    """Round the weights of products that read the same input.

    Args:
        matrices: float32 (out, in) each.
        seen: the range of the input.
        by_token: whether each token finds its own step.

    Returns:
        What to multiply the input's channels with, (in,); what 0 becomes; the products.
    """
    outliers = np.maximum(np.maximum(-seen.low, seen.high), _SMALLEST)
    strongest = np.max([np.abs(matrix).max(axis=0) for matrix in matrices], axis=0)
    smoothing = _SMOOTHING_BY_TOKEN if by_token else _SMOOTHING
    smooth = outliers**smoothing / np.maximum(strongest, _SMALLEST) ** (1 - smoothing)
    step, zero_point = (1.0, _ZERO_BY_TOKEN) if by_token else _fixed_step(seen, smooth)
    products = [_rounded(matrix * smooth, step) for matrix in matrices]
    return (1 / (smooth * step)).astype(np.float32), zero_point, products


def _fixed_step(seen: Range, smooth: Floats) -> tuple[float, int]:
    low = min(float((seen.low / smooth).min()), 0.0)
    high = max(float((seen.high / smooth).max()), 0.0)
    step = max(high - low, _SMALLEST) / _INPUT_STEPS
    return step, int(np.clip(round(-low / step), 0, _INPUT_STEPS))


def _rounded(matrix: Floats, input_step: float) -> Product:
    steps = np.maximum(np.abs(matrix).max(axis=1) / _WEIGHT_STEPS, np.finfo(np.float32).tiny)
    integers = np.rint(matrix / steps[:, None]).clip(-_WEIGHT_STEPS, _WEIGHT_STEPS)
    return Product(
        np.ascontiguousarray(integers.astype(np.int8).T), (steps * input_step).astype(np.float32)
    )


def input_ranges(files: EncoderFiles) -> dict[str, Range]:
    """The range of the input of each linear layer over random tokens.

    Raises:
        NotQuantisable: the encoder computes numbers that are not finite.
    """
    model, inputs = _watching(files)
    names = [f"{edge}_of_{x}" for x in inputs.values() for edge in ("low", "high")]
    found = list(run_alone(model.SerializeToString(), files, names, _random_rows(files)))
    edges = dict(zip(names, zip(*found, strict=True), strict=True))
    ranges = {
        name: Range(np.min(edges[f"low_of_{x}"], axis=0), np.max(edges[f"high_of_{x}"], axis=0))
        for name, x in inputs.items()
    }
    if not all(np.isfinite([one.low, one.high]).all() for one in ranges.values()):
        raise NotQuantisable(f"{files.folder} computes numbers that are not finite")
    return ranges


def run_alone(
    graph: bytes, files: EncoderFiles, outputs: Sequence[str], rows: Iterable[NDArray[np.int64]]
) -> Iterator[list[Floats]]:
    """Run a graph over an encoder's weights for one text at a time; yields the outputs of each."""
    import onnxruntime  # only the trainer process quantises

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(files.folder)
    )
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    for row in rows:
        yield session.run(outputs, _alone(row, files))


def _watching(files: EncoderFiles) -> tuple["ModelProto", dict[str, str]]:
    """The float32 graph with the range of each layer's input as outputs; layer -> its input."""
    from onnx import TensorProto, helper, load

    model = load(files.graph, load_external_data=False)
    layers = {name for group in _groups(files.architecture) for name in group}
    inputs = {
        node.input[1].removesuffix(".weight"): node.input[0]
        for node in model.graph.node
        if node.op_type == "Gemm" and node.input[1].removesuffix(".weight") in layers
    }
    for x in dict.fromkeys(inputs.values()):
        for kind, edge in (("ReduceMin", "low"), ("ReduceMax", "high")):
            output = f"{edge}_of_{x}"
            model.graph.node.append(helper.make_node(kind, [x], [output], axes=[0], keepdims=0))
            value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
            model.graph.output.append(value)
    return model, inputs


def _random_rows(files: EncoderFiles) -> Iterator[NDArray[np.int64]]:
    """Known texts, and random tokens between what the tokenizer puts around a text."""
    yield from files.probes.rows
    first, last = files.probes.rows[0][0], files.probes.rows[0][-1]
    random = np.random.default_rng(_SEED)
    short, long = min(_SHORT, files.max_tokens), min(_LONG, files.max_tokens)
    for least, most, texts in ((_SHORTEST, short, _SHORT_TEXTS), (long // 2, long, _LONG_TEXTS)):
        for _ in range(texts):
            size = random.integers(min(least, most), most + 1)
            row = random.integers(0, files.architecture.vocabulary, size)
            row[row == files.architecture.padding] = last
            row[0], row[-1] = first, last
            yield row


def _alone(row: NDArray[np.int64], files: EncoderFiles) -> Mapping[str, NDArray[np.generic]]:
    """One text as the packed graph reads it."""
    start = files.architecture.padding + 1
    return {
        "input_ids": row,
        "position_ids": np.arange(start, start + row.size),
        "row_ids": np.zeros(row.size, np.int64),
        "pool": np.full((1, row.size), 1 / row.size, np.float32),
    }


def _groups(architecture: Architecture) -> Iterator[tuple[str, ...]]:
    """The linear layers in integers, those that read the same input together."""
    for names in architecture.layer_names():
        yield names.query, names.key, names.value
        yield (names.context,)
        yield (names.inner,)
        yield (names.outer,)
