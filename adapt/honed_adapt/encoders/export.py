"""A model as files that transformers loads, the inverse of an import: encoder, head, tokenizer.

It stands at the end of a version's life with Honed. Nothing is written here: a file is a list of
its parts, read from the encoder store as it is sent, so that an export needs neither memory nor
disk by the size of the model.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from honed_adapt.encoders.families import EXPORTED, exported
from honed_adapt.encoders.source import CONFIG, TOKENIZER, WEIGHTS
from honed_adapt.encoders.store import EncoderFiles
from honed_adapt.encoders.tensors import read_spans
from honed_adapt.head import Head
from honed_adapt.instant.features import projection

_CLASSES = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
}
# Where no stock class answers as the model does, the folder brings its own.
MODELLING = Path(__file__).with_name("modeling_honed.py")
_HONED_CLASS = "HonedForSequenceClassification"
_DENSE, _FEATURES = "dense", "features"  # layers of that class in front of its classifier
# Parts of a stock classifier that lie beside its encoder and not in it.
_BESIDE = ("classifier.", "pre_classifier.")
_SPECIAL = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a file that does not change meanwhile: from `offset` to its end."""

    path: Path
    offset: int

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size - self.offset


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of an exported folder.

    Attributes:
        path: inside the folder.
        parts: its content, one behind the other.
    """

    path: str
    parts: Sequence[bytes | Stretch]

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(part.size if isinstance(part, Stretch) else len(part) for part in self.parts)

    def sha256(self) -> str:
        """SHA-256 of its content, hexadecimal; reads all of it."""
        digest = hashlib.sha256()
        for chunk in self.chunks(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self, size: int) -> Iterator[bytes]:
        """Its content in order, at most `size` bytes at a time."""
        for part in self.parts:
            if isinstance(part, Stretch):
                with part.path.open("rb") as file:
                    file.seek(part.offset)
                    while chunk := file.read(size):
                        yield chunk
            else:
                for start in range(0, len(part), size):
                    yield part[start : start + size]


def export_files(encoder: EncoderFiles, head: Head) -> list[ExportFile]:
    """The files that `AutoModelForSequenceClassification` and `AutoTokenizer` load.

    The softmax of the loaded model's logits is what the head answers: the temperature is folded
    into its weight and bias.

    Args:
        encoder: verified files of the encoder that the head reads.
        head: at least two labels; with one, transformers takes a model for a regression.
    """
    assert head.num_labels > 1, "the caller refuses smaller heads"
    files = [
        ExportFile(CONFIG, [_json(_config(encoder, head))]),
        ExportFile(WEIGHTS, _weights(encoder, head)),
        ExportFile(TOKENIZER, [encoder.tokenizer.read_bytes()]),
        ExportFile("tokenizer_config.json", [_json(_tokenizer_config(encoder))]),
    ]
    if not is_stock(encoder, head):
        files.append(ExportFile(MODELLING.name, [MODELLING.read_bytes()]))
    return files


def is_stock(encoder: EncoderFiles, head: Head) -> bool:
    """Whether a class of transformers computes the answers, or the folder brings one."""
    return encoder.settings.dense is not None and head.features is None


def _config(encoder: EncoderFiles, head: Head) -> dict[str, Any]:
    architecture = encoder.architecture
    labels = {
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
        "label2id": {label: index for index, label in enumerate(head.labels)},
        "problem_type": "single_label_classification",
        "dtype": "float32",
    }
    if is_stock(encoder, head):
        classes = [_CLASSES[architecture.model_type]]
        return {**architecture.config(), "architectures": classes, **labels}
    dense, module = encoder.settings.dense, MODELLING.stem
    extra = {_DENSE: {"activation": dense.activation}} if dense else {}
    if head.features:
        extra[_FEATURES] = asdict(head.features)
    return {
        "model_type": EXPORTED,
        "architectures": [_HONED_CLASS],
        "auto_map": {
            "AutoConfig": f"{module}.HonedConfig",
            "AutoModelForSequenceClassification": f"{module}.{_HONED_CLASS}",
        },
        "encoder": architecture.config(),
        "honed": {
            "pooling": encoder.settings.pooling,
            "normalise": encoder.settings.normalise,
            "max_tokens": encoder.settings.max_tokens,
            **extra,
        },
        **labels,
    }


def _weights(encoder: EncoderFiles, head: Head) -> list[bytes | Stretch]:
    """model.safetensors: the stored tensors under the names of the class, and the head behind."""
    family, dense = encoder.architecture.family, None
    if not is_stock(encoder, head):
        family, dense = exported(family), encoder.settings.dense
    spans = read_spans(encoder.weights)
    data = Stretch(encoder.weights, min(span.offset for span in spans.values()))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, span in spans.items():
        begin = span.offset - data.offset
        shown = name if name.startswith(_BESIDE) else family.prefix + name
        if dense and name.startswith(f"{dense.name}."):
            shown = _DENSE + name.removeprefix(dense.name)
        header[shown] = _entry(span.shape, begin)
    tail = b""
    for name, array in _behind(head, family.classifier).items():
        header[name] = _entry(array.shape, data.size + len(tail))
        tail += array.astype("<f4").tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    return [len(text).to_bytes(8, "little") + text, data, tail]


def _behind(head: Head, classifier: str) -> dict[str, NDArray[Any]]:
    """The tensors of a head, with the projection that makes its features."""
    tensors: dict[str, NDArray[Any]] = {
        f"{classifier}.weight": head.weight.astype(np.float64) / head.temperature,
        f"{classifier}.bias": head.bias.astype(np.float64) / head.temperature,
    }
    if head.features:
        shared, count = projection(head.hidden, head.features.seed), head.features.count
        tensors[f"{_FEATURES}.weight"] = shared.matrix[:, :count].T
        tensors[f"{_FEATURES}.bias"] = shared.phase[:count]
    return tensors


def _entry(shape: Sequence[int], begin: int) -> Mapping[str, Any]:
    """What a safetensors header says of a float32 tensor."""
    return {"dtype": "F32", "shape": shape, "data_offsets": (begin, begin + 4 * prod(shape))}


def _tokenizer_config(encoder: EncoderFiles) -> dict[str, Any]:
    """Says how long a text may be, and which of its special tokens are which."""
    added = Tokenizer.from_file(str(encoder.tokenizer)).get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.max_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{role: name for role, names in _SPECIAL.items() for name in names if name in special},
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
