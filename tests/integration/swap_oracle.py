"""Oracle weights: every part of an answer encodes which encoder, version and revision made it.

The encoder ignores its text: the last layer norm's bias is a unit vector at an angle that names
the encoder. A head of revision r names r in its label names, its bias, the length of its weights
and its temperature. An answer assembled from two generations decodes to two different names.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from honed_adapt.encoders.store import import_encoder
from honed_adapt.head import Head

HIDDEN = 32
ANGLE = 0.05
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "word": 4, "swap": 5}


def make_encoder(home: Path, scratch: Path, number: int) -> str:
    """Writes encoder `number` into the data folder; returns its digest."""
    source = scratch / f"encoder-{number}"
    source.mkdir(parents=True)
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": HIDDEN,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 64,
        "type_vocab_size": 2, "vocab_size": len(VOCABULARY),
        "position_embedding_type": "absolute",
    }  # fmt: skip
    (source / "config.json").write_text(json.dumps(config))
    save_file(_weights(number), source / "model.safetensors")
    _tokenizer().save(str(source / "tokenizer.json"))
    return import_encoder(source, home)


def _weights(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    shapes = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), HIDDEN),
        "embeddings.position_embeddings.weight": (64, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    layer = "encoder.layer.0."
    for part in ("query", "key", "value"):
        shapes[f"{layer}attention.self.{part}.weight"] = (HIDDEN, HIDDEN)
        shapes[f"{layer}attention.self.{part}.bias"] = (HIDDEN,)
    shapes |= {
        f"{layer}attention.output.dense.weight": (HIDDEN, HIDDEN),
        f"{layer}attention.output.dense.bias": (HIDDEN,),
        f"{layer}attention.output.LayerNorm.weight": (HIDDEN,),
        f"{layer}attention.output.LayerNorm.bias": (HIDDEN,),
        f"{layer}intermediate.dense.weight": (64, HIDDEN),
        f"{layer}intermediate.dense.bias": (64,),
        f"{layer}output.dense.weight": (HIDDEN, 64),
        f"{layer}output.dense.bias": (HIDDEN,),
    }
    tensors = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    direction = np.zeros(HIDDEN, np.float32)
    direction[:2] = math.cos(number * ANGLE), math.sin(number * ANGLE)
    tensors[f"{layer}output.LayerNorm.weight"] = np.zeros(HIDDEN, np.float32)
    tensors[f"{layer}output.LayerNorm.bias"] = direction
    return tensors


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def make_head(revision: int) -> Head:
    """The head whose every part names `revision`."""
    weight = np.zeros((3, HIDDEN), np.float32)
    weight[0, 0] = weight[1, 1] = 1 + (revision % 997) / 1000
    return Head(
        labels=tuple(f"r{revision}-{i}" for i in range(3)),
        weight=weight,
        bias=np.full(3, revision / 4, np.float32),
        temperature=1 + (revision % 97) / 100,
    )


@dataclass(frozen=True, slots=True)
class Published:
    """One swap: from `started` on it may be seen, from `accepted` on nothing older may be."""

    model: str
    version: int
    revision: int
    encoder: int
    started: float
    accepted: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as a client recorded it; times are monotonic seconds of this machine."""

    client: str
    sent: float
    received: float
    model: str
    version: int = 0
    revision: int = 0
    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    logits: tuple[float, ...] = ()
    embedding: tuple[float, ...] = ()
    failure: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> "Seen":
        values = json.loads(line)
        lists = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        return Seen(**{**values, **lists})


def check(published: Iterable[Published], seen: Iterable[Seen]) -> list[str]:
    """All that contradicts the swap guarantee; empty if nothing does."""
    order: dict[str, list[Published]] = defaultdict(list)
    for swap in published:
        order[swap.model].append(swap)
    place = {
        (swap.model, swap.version, swap.revision): (n, swap)
        for swaps in order.values()
        for n, swap in enumerate(swaps)
    }
    problems: list[str] = []
    newest: dict[tuple[str, str], int] = {}
    for answer in sorted(seen, key=lambda one: (one.client, one.sent)):
        if answer.failure:
            problems.append(f"failed: {answer.failure}")
            continue
        tag = (answer.model, answer.version, answer.revision)
        if tag not in place:
            problems.append(f"unknown tag: {tag}")
            continue
        n, swap = place[tag]
        problems += torn(answer, swap.encoder)
        if swap.started > answer.received:
            problems.append(f"from the future: {tag}")
        following = order[answer.model][n + 1 :]
        if following and following[0].accepted < answer.sent:
            problems.append(f"stale: {tag} answered after {following[0]} was accepted")
        before = newest.get((answer.client, answer.model), -1)
        if n < before:
            problems.append(f"went back: {answer.client} saw {tag} after a newer one")
        newest[answer.client, answer.model] = max(n, before)
    return problems


def torn(answer: Seen, encoder: int) -> list[str]:
    """Which parts of an answer do not belong to the revision that it names."""
    revision = answer.revision
    first, second, third = answer.logits
    scale, angle = (
        math.hypot(first - third, second - third),
        math.atan2(second - third, first - third),
    )
    if set(answer.labels) != {f"r{revision}-{i}" for i in range(3)}:
        return [f"label map of {answer.labels} in revision {revision}"]
    shares = dict(zip(answer.labels, answer.probabilities, strict=True))
    spread = math.log(shares[f"r{revision}-0"] / shares[f"r{revision}-2"])
    expected = {
        "head bias": (third * 4, revision),
        "head weight": (scale, 1 + (revision % 997) / 1000),
        "encoder": (angle / ANGLE, encoder),
        "embedding": (math.atan2(answer.embedding[1], answer.embedding[0]) / ANGLE, encoder),
        "temperature": ((first - third) / spread, 1 + (revision % 97) / 100),
    }
    tolerance = {"head bias": 0.01, "head weight": 3e-4, "temperature": 2e-3}
    return [
        f"{part} is {found:.5f}, revision {revision} has {right}"
        for part, (found, right) in expected.items()
        if abs(found - right) > tolerance.get(part, 0.01)
    ]
