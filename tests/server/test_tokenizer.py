import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from honed_adapt.encoder_store import default_source, import_encoder, open_encoder
from honed_server.tokenizer import Tokenizer
from oracle import real_texts

CLS, SEP = 101, 102


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
from honed_adapt.encoder_store import open_encoder
from honed_server.tokenizer import Tokenizer
(folder,) = (Path({str(home)!r}) / "encoders").iterdir()
tokenizer = Tokenizer(open_encoder(Path({str(home)!r}), folder.name))
before = len(os.listdir("/proc/self/task"))
tokenizer.tokenise(["where is my card"] * 100)
assert len(os.listdir("/proc/self/task")) == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={"PATH": ""})
