"""The words of the live verdict before anything is known, and the bars of a year."""

import numpy as np

from export.live.log import yearly_bars
from export.live.verdict import live_verdict
from himari_jax.times import DAY_MS

RNG = np.random.default_rng(0)


def sentence_of(differences):
    found = live_verdict(np.asarray(differences, np.float64), 365.0, DAY_MS)
    assert found.word == "INCONCLUSIVE"
    assert "inf" not in found.sentence
    assert "nan" not in found.sentence
    return found.sentence


def test_a_log_counts_the_bars_of_a_year_where_the_market_closes():
    start = {"bar_ms": DAY_MS, "candles": [["A", day * DAY_MS] for day in range(7 * 104 - 2) if day % 7 < 5]}
    assert yearly_bars(start | {"calendar": "continuous"}) == 365
    assert yearly_bars(start | {"calendar": "sessions"}) == 520 / (726 / 365.25)


def test_accounts_that_never_differ_wait_for_no_warm_up():
    assert sentence_of(np.zeros(40)) == "40 bars; the two accounts have not differed yet"
    assert sentence_of([]) == "0 bars; the two accounts have not differed yet"


def test_the_warm_up_is_counted_from_the_first_difference():
    words = "3 bars, 1 since the accounts first differed; the first 7 days set the scale, 6.0 are left"
    assert sentence_of([0, 0, 1e-3]) == words
    assert "0.0 are left" in sentence_of(RNG.normal(0, 1, 8))  # bounds nothing yet
    assert "at every look" in sentence_of(RNG.normal(0, 1, 40))
