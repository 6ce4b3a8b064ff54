"""Which vectors are kept, and within how many bytes."""

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from queues import FixedEncoder

from honed_server.serving.recall import EmbeddingCache

ROOM = 8_000


def tokens(text: int) -> np.ndarray:
    return np.full(8, text, np.int64)


def vector(text: int) -> np.ndarray:
    return np.full(384, text, np.float32)


@given(
    st.lists(st.tuples(st.sampled_from("gp"), st.integers(0, 1), st.integers(0, 3)), min_size=20)
)
def test_what_was_used_last_is_kept_whichever_encoder_made_it(steps):
    """Against a list of all that is known, in order of use."""
    encoders = [FixedEncoder("one"), FixedEncoder("two")]
    cache, model = EmbeddingCache(ROOM), []
    for step, encoder, text in steps:
        known = (encoder, text) in model
        if step == "g":
            found = cache.get(encoders[encoder], tokens(text))
            assert (found is not None) == known
            assert not known or (found == vector(text)).all()
        else:
            cache.put(encoders[encoder], tokens(text), vector(text))
        if known or step == "p":
            model = [one for one in model if one != (encoder, text)] + [(encoder, text)]
            model = model[-CAPACITY:]
        assert cache.bytes <= ROOM


def room_for() -> int:
    """Texts that fit."""
    cache, encoder = EmbeddingCache(ROOM), FixedEncoder("one")
    for text in range(100):
        cache.put(encoder, tokens(text), vector(text))
    return sum(cache.get(encoder, tokens(text)) is not None for text in range(100))


CAPACITY = room_for()


def test_vectors_end_with_their_encoder():
    cache, old, new = EmbeddingCache(ROOM), FixedEncoder("one"), FixedEncoder("two")
    cache.put(old, tokens(1), vector(1))
    cache.put(new, tokens(1), vector(2))
    both = cache.bytes
    del old
    gc.collect()
    assert cache.bytes == both / 2
    assert cache.get(new, tokens(1))[0] == 2


def test_a_vector_is_the_first_that_the_encoder_made_and_keeps_no_batch_alive():
    """Company moves the last bits; answers to one text shall not flicker."""
    cache, encoder = EmbeddingCache(ROOM), FixedEncoder("one")
    batch = np.zeros((1000, 384), np.float32)
    cache.put(encoder, tokens(1), batch[3])
    cache.put(encoder, tokens(1), vector(1))
    kept = cache.get(encoder, tokens(1))
    assert (kept == 0).all()
    assert kept.base is None


def test_a_cache_without_room_keeps_nothing():
    cache, encoder = EmbeddingCache(1000), FixedEncoder("one")
    cache.put(encoder, tokens(1), vector(1))
    assert (cache.bytes, cache.get(encoder, tokens(1))) == (0, None)
