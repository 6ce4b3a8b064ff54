from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from honed_server.serving.cost import CostModel, Measured, Pace

points = st.lists(
    st.builds(
        Measured,
        st.integers(1, 600),
        st.integers(1, 64),
        st.floats(0, 10, allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=15,
)

# Seconds of packed MiniLM batches on two Zen 4 cores, rounded.
TABLE = {8: 4.1, 16: 5.9, 32: 9.5, 64: 17.2, 128: 33.6, 256: 69.5, 512: 174.0}
MINILM = CostModel.of([Measured(n, max(1, n // 16), ms / 1e3) for n, ms in TABLE.items()])


@given(points, st.integers(1, 2000), st.integers(1, 300), st.integers(0, 2000), st.integers(0, 99))
def test_any_table_gives_costs_that_never_fall(table, tokens, rows, more_tokens, more_rows):
    model = CostModel.of(table)
    less = model.seconds(tokens, rows)
    more = model.seconds(tokens + more_tokens, rows + more_rows)
    assert 0 < less <= more * (1 + 1e-12)
    assert isfinite(more)
    largest = max(point.tokens for point in table)
    assert 1 <= model.split_tokens <= model.budget_tokens <= largest
    assert isfinite(model.token_s)
    assert model.token_s > 0


def test_a_clean_table_is_given_back_and_continued():
    for tokens, ms in TABLE.items():
        assert MINILM.seconds(tokens, 0) == pytest.approx(ms / 1e3)
    assert MINILM.seconds(24, 0) == pytest.approx(7.7e-3)  # half-way
    assert MINILM.seconds(512 + 256, 0) == pytest.approx((174.0 + 104.5) / 1e3)  # the last slope
    assert MINILM.seconds(2, 0) == MINILM.seconds(8, 0)  # below, the weights are read all the same


def test_two_long_texts_are_dearer_together():
    assert MINILM.seconds(512, 2) > 2 * MINILM.seconds(256, 1)
    assert MINILM.seconds(32, 2) < 2 * MINILM.seconds(16, 1)


def test_the_budget_is_the_smallest_batch_of_nearly_the_best_rate():
    best = max(n / MINILM.seconds(n, 1) for n in range(8, 513))
    for tokens, share in ((MINILM.budget_tokens, 0.98), (MINILM.split_tokens, 0.8)):
        assert tokens / MINILM.seconds(tokens, 1) >= share * best
        assert (tokens - 1) / MINILM.seconds(tokens - 1, 1) < share * best


def test_a_disturbed_run_does_not_hide_the_larger_ones():
    table = [Measured(n, 1, n / 1000) for n in (16, 32, 64, 128)]
    table[1] = Measured(32, 1, 0.5)
    assert CostModel.of(table).seconds(32, 1) == pytest.approx(0.064)


def test_rows_cost_what_more_of_them_took():
    model = CostModel.of([Measured(64, 4, 0.020), Measured(64, 16, 0.026), Measured(32, 2, 0.011)])
    assert model.row_s == pytest.approx(0.0005)
    assert model.seconds(64, 16) == pytest.approx(0.026)


def test_set_sizes_replace_the_measured_ones_and_costs_scale():
    assert MINILM.sized(None, None) == MINILM
    set_to = MINILM.sized(20, 500)
    assert (set_to.budget_tokens, set_to.split_tokens) == (20, 20)
    twice = MINILM.scaled(2.0)
    for tokens in (5, 100, 1000):
        assert twice.seconds(tokens, 3) == pytest.approx(2 * MINILM.seconds(tokens, 3))
    assert twice.budget_tokens == MINILM.budget_tokens


def test_pace_follows_the_machine_and_one_long_stop_does_not_decide():
    pace = Pace()
    for _ in range(60):
        pace.observe(0.03, 0.01)
    assert pace.ratio == pytest.approx(3, rel=0.01)
    calm = pace.cautious
    pace.observe(60.0, 0.01)
    assert calm < pace.cautious < 10
    for _ in range(200):
        pace.doubt()
    assert 0 < pace.ratio < 1
