"""Whole candles are recognized at once, and are what the full checks make of them, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from himari_jax.candles import COLUMNS, RawCandles
from himari_jax.checking.candles import check_candles
from himari_jax.checking.whole_candles import whole_candles
from himari_jax.errors import HimariError
from himari_jax.times import HOUR_MS

START = 1_700_000_000_000 // HOUR_MS * HOUR_MS
ROWS = 40


def raw_candles(symbols=1, bar=HOUR_MS, seed=0):
    """Consistent candles of several symbols, as a request has them."""
    rng, raws = np.random.default_rng(seed), []
    for n in range(symbols):
        walk = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (ROWS, 2)), axis=0))
        columns = (walk[:, 0], walk.max(1) * 1.001, walk.min(1) * 0.999, walk[:, 1], rng.random(ROWS) + 0.1)
        time = START + bar * np.arange(ROWS)
        raws.append(RawCandles(f"S{n}", f"candles.S{n}", np.arange(1, ROWS + 1), time, *columns))
    return raws


def same(one, other):
    """Whether two sets of candles are equal in every bit and lie alike in memory."""
    assert (one.symbols, one.bar_ms, one.calendar) == (other.symbols, other.bar_ms, other.calendar)
    assert one.synthetic == other.synthetic
    for name in ("time", *COLUMNS, "tradable", "segment"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), name
        assert ours.flags.c_contiguous == theirs.flags.c_contiguous, name
        assert ours.tobytes() == theirs.tobytes(), name


def checked(raws, now, bar=HOUR_MS):
    return check_candles(raws, bar_ms=bar, calendar="continuous", now_ms=now, served=True)[0]


@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("bar", [HOUR_MS // 4, HOUR_MS, 4 * HOUR_MS, 24 * HOUR_MS])
@pytest.mark.parametrize("open_still", [False, True])
def test_whole_candles_are_those_of_the_checks(symbols, bar, open_still):
    raws = raw_candles(symbols, bar)
    now = int(raws[0].time[-1]) + (bar - 1 if open_still else bar)
    found = whole_candles(raws, bar, "continuous", now)
    assert found is not None
    assert len(found.time) == ROWS - open_still
    same(found, checked(raws, now, bar))


ODD = [0.0, -1.0, np.nan, np.inf, 1e-19, 1e19, 1e31, 99.0, 100.0]


@settings(max_examples=200, deadline=None)
@given(
    cells=st.lists(st.tuples(st.sampled_from(COLUMNS), st.integers(0, ROWS - 1), st.sampled_from(ODD)), max_size=3),
    calm=st.integers(0, 12),
    moved=st.sampled_from([None, (3, 1), (3, HOUR_MS), (ROWS - 1, 5 * HOUR_MS), (0, -HOUR_MS)]),
    later=st.sampled_from([-HOUR_MS, 0, 1, HOUR_MS, 9 * HOUR_MS]),
    bar=st.sampled_from([HOUR_MS, 2 * HOUR_MS]),
)
def test_whatever_is_recognized_is_what_the_checks_would_say(cells, calm, moved, later, bar):
    raws = raw_candles(2)
    one = {name: np.array(getattr(raws[0], name)) for name in ("time", *COLUMNS)}
    for name in COLUMNS[:4]:  # a calm: bars without volume at one price
        one[name][5 : 5 + calm] = one["close"][4]
    one["volume"][5 : 5 + calm] = 0.0
    for name, row, value in cells:
        one[name][row] = value
    if moved is not None:
        one["time"][moved[0]] += moved[1]
    raws[0] = RawCandles("S0", "candles.S0", raws[0].row, **one)
    now = START + ROWS * HOUR_MS + later
    found = whole_candles(raws, bar, "continuous", now)
    try:
        expected = checked(raws, now, bar)
    except HimariError:
        assert found is None
        return
    if found is not None:
        same(found, expected)
    elif not cells and moved is None:
        pytest.fail("nothing is wrong with them, and they were not recognized")
