"""A Hugging Face folder as a user has it: checked file by file, with the remedy for what is amiss.

It stands between the folder and the encoder store (`store.py`) or the head
(`own_head.py`). Nothing is unpickled and no code of the folder runs.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from honed_adapt.encoders.checkpoint import (
    Architecture,
    EncoderUnsupported,
    Pooling,
    Settings,
    read_json,
    read_object,
)
from honed_adapt.encoders.families import EXPORTED, exported
from honed_adapt.encoders.tensors import TensorFile

WEIGHTS, TOKENIZER, CONFIG = "model.safetensors", "tokenizer.json", "config.json"

_LACKING = {
    CONFIG: "name the folder that save_pretrained wrote",
    TOKENIZER: "run AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
    WEIGHTS: "run save_pretrained(DIR, safe_serialization=True) on the model",
}
_PICKLED = "pytorch_model.bin"
_SHARDS = "model.safetensors.index.json"
_DEFAULT_POOLING: Pooling = "mean"
_DEFAULT_MAX_TOKENS = 256
_LONGEST = 1_000_000  # transformers writes 1e30 for "no limit"
_PLACE = re.compile(r"[A-Za-z0-9._/-]{0,255}")  # what every file system can look up
_UNKNOWN = "𒀀 𓀀 𐂀"  # characters that hardly any vocabulary has
_MODE = "pooling_mode_"
_POOLING_MODES: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder as transformers writes it.

    Attributes:
        folder: where it lies.
        config: the parsed config.json.
        architecture: what its encoder computes.
        tensors: its weights.
    """

    folder: Path
    config: Mapping[str, Any]
    architecture: Architecture
    tensors: TensorFile


@dataclass(frozen=True, slots=True)
class Source:
    """An encoder that Honed can serve.

    Attributes:
        checkpoint: its files.
        settings: pooling, normalisation, length limit and dense layer.
        tokenizer: its tokenizer.json without truncation and padding, which depend on the last use.
    """

    checkpoint: Checkpoint
    settings: Settings
    tokenizer: bytes


def open_checkpoint(folder: Path) -> Checkpoint:
    """See that a folder holds what Honed reads.

    Raises:
        EncoderUnsupported: naming the file that is missing or asks for what Honed cannot do.
    """
    for name, remedy in _LACKING.items():
        if not (folder / name).is_file():
            raise EncoderUnsupported(f"{folder} {_instead(folder, name)}; {remedy}")
    config = read_object(folder / CONFIG)
    if config.get("model_type") == EXPORTED:
        encoder = config.get("encoder")
        architecture = Architecture.of(encoder if isinstance(encoder, dict) else {})
        architecture = replace(architecture, family=exported(architecture.family))
    else:
        architecture = Architecture.of(config)
    tensors = TensorFile(folder / WEIGHTS, architecture.family.prefix)
    last = f"{architecture.family.layer.at(architecture.layers - 1).query}.weight"
    if last not in tensors:  # asked first, so that no number of layers fills the memory with names
        raise EncoderUnsupported(f"{folder / WEIGHTS} lacks the tensor {last}")
    return Checkpoint(folder, config, architecture, tensors)


def read_source(source: Path, *, classifier: bool) -> Source:
    """The encoder in a folder, and how its vectors are made.

    Args:
        source: a folder as sentence-transformers writes it, or as transformers does (then mean
            pooling, vectors of length 1, at most 256 tokens).
        classifier: whether it is a transformers classifier whose vectors shall be what its final
            linear layer reads.

    Raises:
        EncoderUnsupported: naming the file that is missing or asks for what Honed cannot do.
    """
    folder, pooling, normalise = source, _DEFAULT_POOLING, True
    if not classifier and (source / "modules.json").is_file():
        modules = _read_modules(source)
        folder, normalise = modules["Transformer"], "Normalize" in modules
        pooling = _read_pooling(modules["Pooling"] / CONFIG)
    checkpoint = open_checkpoint(folder)
    architecture = checkpoint.architecture
    tokenizer = read_object(folder / TOKENIZER)
    if checkpoint.config.get("model_type") == EXPORTED:
        settings = _exported_settings(checkpoint)
    elif classifier:
        limit = min(_tokenizer_limit(folder, tokenizer), architecture.max_tokens)
        settings = Settings("cls", False, limit, architecture.family.dense)
    else:
        limit = min(_sentence_limit(folder), architecture.max_tokens)
        settings = Settings(pooling, normalise, limit)
    tokenizer |= {"truncation": None, "padding": None}
    content = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()
    return Source(checkpoint, settings, content)


def _exported_settings(checkpoint: Checkpoint) -> Settings:
    """What Honed noted when it exported the folder."""
    most = checkpoint.architecture.max_tokens
    match checkpoint.config.get("honed"):
        case {"dense": _}:
            raise EncoderUnsupported(
                f"{checkpoint.folder / CONFIG}: a classifier's own dense layer with random "
                "features behind it is not imported again; import the checkpoint that it came from"
            )
        case {
            "pooling": "mean" | "cls" as pooling,
            "normalise": bool(normalise),
            "max_tokens": int(limit),
        } if 0 < limit <= most:
            return Settings(pooling, normalise, limit)
    raise EncoderUnsupported(
        f"{checkpoint.folder / CONFIG}: honed is not what Honed writes; export the model again"
    )


def check_tokenizer(source: Source) -> None:
    """See that no text can fail the engine: each token has a word, each text has a token.

    Raises:
        EncoderUnsupported: if tokenizer and weights do not belong together.
    """
    path = source.checkpoint.folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_buffer(source.tokenizer)
        around = tokenizer.encode("").ids  # special tokens, by numbers of the post-processor's own
        tokenizer.encode(_UNKNOWN)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing narrower, least of all in a panic
        raise EncoderUnsupported(f"{path} is not a tokenizer for any text: {error}") from error
    largest = max([*tokenizer.get_vocab().values(), *around], default=0)
    words = source.checkpoint.architecture.vocabulary
    if largest >= words:
        raise EncoderUnsupported(
            f"{path} has token {largest}, the weights have {words} words; save the tokenizer that "
            "the model was trained with"
        )
    if not 0 < len(around) < source.settings.max_tokens:
        raise EncoderUnsupported(
            f"{path} puts {len(around)} special tokens around a text, which may have "
            f"{source.settings.max_tokens} with them; Honed needs one or more, and room for a text"
        )


def _instead(folder: Path, name: str) -> str:
    """What a folder has in the place of a file that it lacks."""
    if name == WEIGHTS and (folder / _SHARDS).is_file():
        return f'holds its weights in shards ({_SHARDS}): add max_shard_size="100GB"'
    if name == WEIGHTS and (folder / _PICKLED).is_file():
        return f"holds pickled weights only ({_PICKLED}), which Honed never unpickles"
    return f"lacks {name}"


def _tokenizer_limit(folder: Path, tokenizer: Mapping[str, Any]) -> int:
    """The most tokens that a checkpoint's own tokenizer lets through."""
    path = folder / "tokenizer_config.json"
    config = read_object(path) if path.is_file() else {}
    if config.get("truncation_side", "right") != "right":
        raise EncoderUnsupported(f"{path}: truncation_side is not 'right'; Honed cuts a text's end")
    for settings, name in (
        (config, "model_max_length"),
        (tokenizer.get("truncation"), "max_length"),
    ):
        limit = settings.get(name) if isinstance(settings, dict) else None
        if type(limit) is int and limit <= _LONGEST:
            return limit
    return _LONGEST


def _sentence_limit(folder: Path) -> int:
    path = folder / "sentence_bert_config.json"
    limit = read_object(path).get("max_seq_length") if path.is_file() else None
    return limit if type(limit) is int else _DEFAULT_MAX_TOKENS


def _read_modules(source: Path) -> dict[str, Path]:
    """The parts of a sentence-transformers model: class name -> folder."""
    path = source / "modules.json"
    try:
        places = {
            str(module["type"]).rsplit(".", 1)[-1]: str(module["path"])
            for module in read_json(path)
        }
    except (TypeError, KeyError) as error:
        raise EncoderUnsupported(f"{path} is not a list of modules") from error
    for place in places.values():
        if not _PLACE.fullmatch(place) or not _inside(source / place, source):
            raise EncoderUnsupported(f"{path} leads out of its folder, to {place!r}")
    modules = {kind: source / place for kind, place in places.items()}
    if not {"Transformer", "Pooling"} <= modules.keys() <= {"Transformer", "Pooling", "Normalize"}:
        raise EncoderUnsupported(
            f"{path} lists {', '.join(modules)}; "
            "Honed serves Transformer, Pooling and, if there, Normalize"
        )
    return modules


def _inside(folder: Path, source: Path) -> bool:
    return folder.resolve().is_relative_to(source.resolve())


def _read_pooling(path: Path) -> Pooling:
    modes = [
        name for name, on in read_object(path).items() if name.startswith(_MODE) and on is True
    ]
    if len(modes) != 1 or modes[0] not in _POOLING_MODES:
        raise EncoderUnsupported(
            f"{path} asks for {', '.join(modes) or 'no pooling'}; "
            f"Honed serves one of {', '.join(_POOLING_MODES)}"
        )
    return _POOLING_MODES[modes[0]]
