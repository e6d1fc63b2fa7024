"""Sketches of trials: laid over each other on one calendar, whatever the span; what is alike is one cluster."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import START, luck

from himari_jax.times import HOUR_MS
from train.evaluation.sketches import CELLS, Sketch, clusters, correlations, from_json, sketch, to_json


def drawn(returns, first=0, base=None, step=1):
    times = (START + first + step * np.arange(len(returns))) * HOUR_MS
    return sketch(times, returns, np.zeros(len(returns)) if base is None else base)


@given(hours=st.integers(2, 5000), first=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_a_sketch_is_small_whatever_the_span_and_json_keeps_it(hours, first, seed):
    found = drawn(luck(seed, hours), first)
    assert 1 <= len(found.sums) <= CELLS
    assert len(json.dumps(to_json(found))) < 750
    again = from_json(json.loads(json.dumps(to_json(found))))
    assert again[:2] == found[:2]
    np.testing.assert_array_equal(again.sums, found.sums)


@pytest.mark.parametrize(("first", "cut"), [(0, 0), (1, 0), (700, 0), (0, 700), (300, 500)])
def test_two_looks_at_one_policy_correlate_by_the_share_that_they_have_in_common(first, cut):
    found = []
    for seed in range(100):  # deviation of each: .03, of what luck has left in the hours that are cut
        r = luck(seed, 3000)
        found.append(correlations([drawn(r), drawn(r[first : 3000 - cut], first)])[0, 1])
    assert np.mean(found) == pytest.approx(np.sqrt((3000 - first - cut) / 3000), abs=0.01)


def test_correlations_are_those_of_the_series():
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((2, 20_000))
    found = correlations([drawn(common), drawn(0.8 * common + 0.6 * own), drawn(-common)])
    assert found[0, 1] == pytest.approx(0.8, abs=4 * 0.36 / 16)
    assert found[0, 2] == pytest.approx(-1, abs=1e-4)
    np.testing.assert_array_equal(found, found.T)


def test_length_and_leverage_change_nothing():
    r = luck(1, 4100)
    for length in (4095, 4096, 4097, 4099):  # of which some have cells twice as long
        assert correlations([drawn(r), drawn(3 * r[:length])])[0, 1] > 0.995


def test_any_two_of_a_cluster_are_alike():
    rng = np.random.default_rng(2)
    way = np.cumsum(0.06 * rng.standard_normal((30, 3000)), axis=0) + rng.standard_normal(3000)
    sketches = [drawn(r) for r in way]  # each like the one before it, the last unlike the first
    found, table = clusters(sketches), correlations(sketches)
    assert min(table[k, k + 1] for k in range(29)) > 0.99
    assert 1 < found.max() + 1 < 30
    for label in range(found.max() + 1):
        own = np.flatnonzero(found == label)
        assert table[np.ix_(own, own)].min() >= 0.99 - 1e-9


def test_what_has_no_sketch_is_a_trial_of_its_own():
    r = luck(1)
    broken = drawn(np.where(np.arange(len(r)) == 5, np.nan, r))
    assert broken is None
    assert len(set(clusters([None, None, drawn(r), drawn(r)]).tolist())) == 3
    assert clusters([None]).tolist() == [0]
    assert clusters([]).tolist() == []


def test_times_that_do_not_overlap_have_nothing_in_common():
    r = luck(1)
    assert correlations([drawn(r), drawn(r, 5000)])[0, 1] == 0
    still = [drawn(r, base=r), drawn(r, 5000, base=r)]
    assert not still[0].sums.any()
    assert correlations(still)[0, 1] == 0


@pytest.mark.parametrize("change", [{"minutes": 3}, {"minutes": 0}, {"sums": ""}, {"sums": "AAA"}, {"sums": None}])
def test_what_is_no_sketch_is_refused(change):
    value = to_json(Sketch(4, 7, np.arange(5, dtype=np.int16)))
    assert from_json(value) is not None
    with pytest.raises((ValueError, TypeError)):
        from_json(value | change)
