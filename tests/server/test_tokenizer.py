import base64
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

from checkpoints import POSITIONS, save_encoder
from honed_adapt.encoders.store import default_source, import_encoder, open_encoder
from honed_server.serving.tokenizer import Tokenizer
from oracle import real_texts

CLS, SEP = 101, 102
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# sentencepiece's compiled form of seven rules: ligature, accents, wide, no-break and zero-width
# spaces, and an Arabic letter that becomes words.
CHARACTERS = zlib.decompress(
    base64.b85decode(
        "c-kG)d6ZC790%~<Oma9U|AY=TX|fekN~L9_?3J}>K~c<T+V`}YVVt8AMXRNa3TcnF3DMBPglL&*uPN;{i5C0kdFOo2"
        "_n!Cexxe>*_rACwBHl=e%#1Qo7^#t4IpV^IoavWDq{!UcBe`;N(o<v9#Rh4qk#j@D+>6XD8&Srse3?AD)Wq^!&Sfks"
        "O^pijO0J+16;UG6sKQlLC7o-yn(MfhYFv+UQJtH(k(;SOEoxGmTey`v)T1u9QJ;o1pfQa|J}HAcXhJiZau;`U4|j7P"
        "_tKpEX-Nwn<N+S$As*!sTGNWhd5pHSp*`(*k|*fEQ#?&aI`It8(wR)2<9V{krVHKZN)Nizi=OnMH~r|#0QxhCfehva"
        "hBAcV4C6&ckeh5UFY^+wkjFkvD$&@H#;-DplOILAE?;8|qj@tqLX2Z96By4VCh|6K@h<N$g~?1~D(^9!8NAOdX0p0m"
        "#0Ro)d4#ethmV=ZToy2&MJ(hK7PEv;lk>+?R$z%(Nj{(R8LRk$ulSOJq$c0+HEUVJde-qB-?AZjCw}02Hu57s^Anrd"
        "#8$RYOcC4J#!hyyn_cW>4<$*@Ilz7n@(YJK#8HlLoMXveaDr2ma++WHo!>ai8P0Q#Kly{d`HO$~C;tEWva+LKb`&is"
        "&MO|7Ui4x72X_dU4g"
    )
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tokenizer(home: Path) -> Tokenizer:
    source = default_source()
    assert source is not None
    return Tokenizer(open_encoder(home, import_encoder(source, home)))


def test_texts_become_ids_with_their_special_tokens(tokenizer: Tokenizer) -> None:
    empty, greeting = tokenizer.tokenise(["", "Hello, world!"])
    assert empty.ids.tolist() == [CLS, SEP]
    assert tokenizer.special_tokens == 2
    assert greeting.ids.tolist() == [CLS, 7592, 1010, 2088, 999, SEP]
    assert greeting.ids.dtype == np.int64
    assert tokenizer.tokenise([]) == []


@pytest.mark.parametrize(
    ("words", "tokens", "truncated"),
    [(253, 255, False), (254, 256, False), (255, 256, True), (3000, 256, True)],
)
def test_only_a_text_that_lost_tokens_is_called_truncated(
    tokenizer: Tokenizer, words: int, tokens: int, truncated: bool
) -> None:
    (result,) = tokenizer.tokenise(["card " * words])
    assert (result.ids.size, result.truncated) == (tokens, truncated)
    assert result.ids[-1] == SEP


def _normalised(tokenizer: tokenizers.Tokenizer, *steps: normalizers.Normalizer) -> None:
    tokenizer.normalizer = normalizers.Sequence(list(steps))


def _xlm_roberta(tokenizer: tokenizers.Tokenizer, spaces: str = " ") -> None:
    """As the published checkpoints of that family have it."""
    _normalised(
        tokenizer,
        normalizers.Precompiled(CHARACTERS),
        normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), spaces),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )


def _across_spaces(tokenizer: tokenizers.Tokenizer) -> None:
    """One piece from the first character to the last, with tokens that end in a space."""
    merges = [("d", " "), ("r", "d "), ("o", "rd "), ("w", "ord ")]
    words = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS, " ", *("".join(pair) for pair in merges)]
    vocabulary = {word: n for n, word in enumerate(words)}
    tokenizer.model = models.BPE(vocabulary, merges, unk_token="<unk>")
    tokenizer.normalizer = tokenizer.pre_tokenizer = None


def _with_words(tokenizer: tokenizers.Tokenizer) -> None:
    tokenizer.add_tokens(["card, th"])


CHANGES = {
    "bert": lambda tokenizer: None,
    "roberta": lambda tokenizer: tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)]),
    "roberta, composed": lambda tokenizer: _normalised(tokenizer, normalizers.NFC()),
    "roberta, added words": _with_words,
    "xlm-roberta": lambda tokenizer: None,
    "xlm-roberta, published": _xlm_roberta,
    "xlm-roberta, spaces vanish": lambda tokenizer: _xlm_roberta(tokenizer, ""),
    "roberta, across spaces": _across_spaces,
}
# What joins others, comes apart, or vanishes.
PIECES = [
    "word", "Contri  bution", "card, th", "Ünïcode", "卡在哪里", "card,", "don't", "12,50", "▁",
    "a" * 120, "'s", ".", " ", " ", " ", "  ", " " * 9, "\t", "\r\n", "\u00a0", "\u3000",
    "\u200b", "e\u0301", "\u0301", "\u200d", "\u0600", "\ufdfa", "ﬁ", "👩‍👩‍👧‍👦", "🇩🇪", "<mask>",
    "[SEP]", "</s>",
]  # fmt: skip


@pytest.fixture(scope="module", params=CHANGES)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    """A changed tokenizer of a small encoder: ours, and the library's own."""
    home, source = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("source")
    save_encoder(source, request.param.split(",")[0])
    files = open_encoder(home, import_encoder(source, home))
    library = tokenizers.Tokenizer.from_file(str(files.tokenizer))
    CHANGES[request.param](library)
    library.add_tokens([LETTERS[:size] for size in range(6, 20)])
    files = replace(files, folder=tmp_path_factory.mktemp("changed"))
    library.save(str(files.tokenizer))
    library.enable_truncation(POSITIONS)
    return Tokenizer(files), library


def _filler(library: tokenizers.Tokenizer, tokens: int, characters: int) -> str:
    """Words of one token and a space, which in some tokenizers is a token too."""
    (one, two) = (len(library.encode(text).ids) for text in ("abcdef", "abcdef abcdef"))
    words = tokens // (two - one)
    sizes = [len(part) for part in np.array_split(np.empty(characters), words)]
    return "".join(f"{LETTERS[: size - 1]} " for size in sizes)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    tokens=st.integers(POSITIONS - 8, POSITIONS - 2),
    characters=st.integers(8 * POSITIONS - 9, 8 * POSITIONS),
    pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=20),
    end=st.sampled_from(["", " ", " the end", " of it all" * 60]),
)
def test_a_long_text_has_the_tokens_that_the_library_gives_it(
    both: tuple[Tokenizer, tokenizers.Tokenizer],
    tokens: int,
    characters: int,
    pieces: list[str],
    end: str,
) -> None:
    """Where we stop to look ahead what fits ends as well, and what comes there is odd."""
    ours, library = both
    text = _filler(library, tokens, characters) + "".join(pieces) + end
    wanted = library.encode(text)
    (found,) = ours.tokenise([text])
    assert found.ids.tolist() == wanted.ids
    assert found.truncated == bool(wanted.overflowing)


def test_a_text_has_the_same_tokens_alone_and_in_company(tokenizer: Tokenizer) -> None:
    texts = real_texts()
    together = tokenizer.tokenise(texts)
    for text, tokens in zip(texts, together, strict=True):
        (alone,) = tokenizer.tokenise([text])
        np.testing.assert_array_equal(alone.ids, tokens.ids)
        assert alone.truncated == tokens.truncated


def test_threads_may_share_it(tokenizer: Tokenizer) -> None:
    texts = real_texts()
    wanted = [tokens.ids.tolist() for tokens in tokenizer.tokenise(texts)]
    with ThreadPoolExecutor(4) as threads:
        for result in threads.map(tokenizer.tokenise, [texts] * 16):
            assert [tokens.ids.tolist() for tokens in result] == wanted


def test_it_starts_no_threads_of_its_own(home: Path, tokenizer: Tokenizer) -> None:
    program = f"""
import os
from pathlib import Path
from honed_adapt.encoders.store import open_encoder
from honed_server.serving.tokenizer import Tokenizer
(folder,) = (Path({str(home)!r}) / "encoders").iterdir()
tokenizer = Tokenizer(open_encoder(Path({str(home)!r}), folder.name))
before = len(os.listdir("/proc/self/task"))
tokenizer.tokenise(["where is my card"] * 100)
assert len(os.listdir("/proc/self/task")) == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={"PATH": ""})
