"""Small checkpoints of each family, as transformers saves them, with every parameter random.

So no bias, scale or table goes untested; and each tokenizer is a real one, made from LICENSE.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from string import whitespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert")
POSITIONS = 64  # of a text; RoBERTa's table has two rows more
LABELS = ("refund", "delivery", "Größe / 尺寸")
LICENSE = Path(__file__).parents[1] / "LICENSE"

_BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]
_PADDING = 1  # RoBERTa's
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-5,
}
_DISTIL = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}


def save_encoder(folder: Path, family: str = "bert", *, seed: int = 0, **settings: Any) -> Path:
    """An encoder without a head."""
    return _save(folder, family, AutoModel.from_config, seed, settings)


def save_classifier(
    folder: Path,
    family: str = "bert",
    *,
    seed: int = 0,
    labels: Iterable[str] = LABELS,
    **settings: Any,
) -> Path:
    """A classifier that looks fine-tuned."""
    settings |= {"id2label": dict(enumerate(labels))}
    return _save(folder, family, AutoModelForSequenceClassification.from_config, seed, settings)


def _save(
    folder: Path, family: str, build: Callable[[Any], Any], seed: int, settings: dict[str, Any]
) -> Path:
    torch.manual_seed(seed)
    tokenizer = _tokenizer(family)
    model = build(_config(family, len(tokenizer), settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = "norm.weight" in name.lower()
            parameter.normal_(float(scale), 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _config(family: str, words: int, settings: dict[str, Any]) -> Any:
    sizes = {"max_position_embeddings": POSITIONS, **_SIZES}
    if "roberta" in family:
        sizes |= {"max_position_embeddings": POSITIONS + _PADDING + 1, "type_vocab_size": 1}
    sizes |= settings
    if family == "distilbert":
        sizes = {_DISTIL.get(name, name): value for name, value in sizes.items()}
        del sizes["layer_norm_eps"]
    return AutoConfig.for_model(family, vocab_size=words, **sizes)


def _tokenizer(family: str) -> PreTrainedTokenizerFast:
    special = _ROBERTA if "roberta" in family else _BERT
    tokenizer, trainer = _UNTRAINED[family](special)
    if trainer is not None:
        tokenizer.train([str(LICENSE)], trainer)
    first, last = ("<s>", "</s>") if "roberta" in family else ("[CLS]", "[SEP]")
    tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        cls_token=first,
        sep_token=last,
        pad_token="<pad>" if "roberta" in family else "[PAD]",
        unk_token="<unk>" if "roberta" in family else "[UNK]",
    )


def _found(prefix: str) -> tuple[list[str], list[str]]:
    """Characters of LICENSE, and its words, commonest first.

    Tokenizers are made of them and not trained: trainers of word pieces and unigrams break ties by
    chance, and what is random here must come from the seed alone.
    """
    text = LICENSE.read_text(encoding="utf-8").lower()
    counts = Counter(re.findall(r"[a-z]{2,}", text))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return sorted({*text, *"卡在哪里我的"} - set(whitespace)), [prefix + word for word in words]


def _word_pieces(special: list[str]) -> tuple[Tokenizer, None]:
    characters, words = _found("")
    pieces = [*special, *characters, *(f"##{one}" for one in characters), *words]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    return tokenizer, None


def _byte_pairs(special: list[str]) -> tuple[Tokenizer, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _unigrams(special: list[str]) -> tuple[Tokenizer, None]:
    characters, words = _found("▁")
    scored = [*((one, 0.0) for one in special), *((one, -8.0) for one in ["▁", *characters])]
    scored += [(word, -4.0) for word in words[:300]]
    tokenizer = Tokenizer(models.Unigram(scored, special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(special)
    return tokenizer, None


_UNTRAINED = {
    "bert": _word_pieces,
    "roberta": _byte_pairs,
    "xlm-roberta": _unigrams,
    "distilbert": _word_pieces,
}
