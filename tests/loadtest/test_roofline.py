"""The work of a text is what the products of the packed graph amount to."""

import numpy as np
import onnxruntime
import pytest

from honed_adapt.encoders.checkpoint import Architecture
from honed_loadtest import roofline

CONFIG = {
    "model_type": "bert", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8,
    "intermediate_size": 32, "vocab_size": 100, "max_position_embeddings": 64,
    "hidden_act": "gelu", "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture
def architecture():
    return Architecture.of(CONFIG)


def test_work_counts_every_product_once(architecture):
    # Of one layer, written out: query, key, value, output; up, down; scores, mixture.
    tokens, h, i = 5, 8, 32
    products = [(h, h)] * 4 + [(h, i), (i, h)]
    linear = sum(2 * tokens * rows * columns for rows, columns in products)
    attention = 2 * (2 * tokens * tokens * h)
    assert roofline.flop(architecture, tokens) == 2 * (linear + attention)
    assert roofline.products_flop(architecture, tokens) == 2 * linear


def test_the_graph_of_products_runs(architecture):
    graph = roofline.products(architecture, 5).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {roofline.INPUT: np.ones((5, 8), np.float32)})
    assert out.shape == (5, 8)
    assert np.isfinite(out).all()
