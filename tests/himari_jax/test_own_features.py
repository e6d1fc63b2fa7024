"""A user's own features: audited before anything trains, each bad file is one line, what is stored comes back."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own import GOOD, bad_files

from himari_jax.errors import InputError
from himari_jax.features.audit import audit_features
from himari_jax.features.market import BASE, Features, market_features, rows_of
from himari_jax.features.observation import features_hash
from himari_jax.features.own_features import load_features, restore_features
from himari_jax.times import HOUR_MS

SYMBOLS = ("SYN1", "SYN2")


@pytest.fixture(scope="module")
def market(candles):
    return replace(candles(2, 3000, seed=11), symbols=SYMBOLS)


@pytest.fixture
def own(tmp_path, market):
    """`own(text)`: the sets base and a file of that text."""

    def make(text, *before):
        (tmp_path / "my.py").write_text(text)
        return load_features((*(before or ("base",)), str(tmp_path / "my.py")), market)

    return make


def refused(text, own, market):
    with pytest.raises(InputError) as caught:
        audit_features(own(text), market)
    assert "\n" not in str(caught.value)
    assert "my.py" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrong", list(bad_files()))
def test_each_bad_file_is_refused_by_one_line_that_says_why(wrong, own, market):
    text, says = bad_files()[wrong]
    assert says in refused(text, own, market)


def test_features_of_rows_up_to_now_pass_and_stand_after_those_of_base(own, market):
    features = own(GOOD)
    audit_features(features, market)
    assert features.names == (*BASE.names, "far", "range")
    values, _ = market_features(market, features)
    np.testing.assert_array_equal(values[..., :12], market_features(market)[0])
    close = np.log(market.close)
    np.testing.assert_array_equal(values[36:, :, 12], close[36:] - close[:-36])
    assert (values[:36, :, 12] == 0).all()


def test_the_example_of_the_docs_passes(own, market):
    page = (Path(__file__).parents[2] / "docs" / "market.md").read_text()
    code = re.search(r"^## Features of your own$.*?^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    features = own(code)
    audit_features(features, market)
    assert features.names[12:] == ("far", "range")


def test_a_file_may_come_first_and_alone(own, market, tmp_path):
    own(GOOD)
    alone = load_features((str(tmp_path / "my.py"),), market)
    assert alone.names == ("far", "range")
    assert alone.lookback(HOUR_MS) == 37  # 36 h back is the 37th close
    first = load_features((str(tmp_path / "my.py"), "base"), market)
    assert first.names == ("far", "range", *BASE.names)


@pytest.mark.parametrize("bar", [900_000, HOUR_MS, 24 * HOUR_MS])
def test_the_look_back_of_a_file_is_a_duration(own, bar):
    rows = {900_000: 145, HOUR_MS: 37, 24 * HOUR_MS: 3}[bar]  # ceil(36 h / bar) + 1
    assert own(GOOD).sets[1].lookback(bar) == rows
    undeclared = {900_000: 1600, HOUR_MS: 400, 24 * HOUR_MS: 17}[bar]  # 400 h
    assert own(GOOD.replace('LOOKBACK = "36h"', "")).sets[1].lookback(bar) == undeclared


def test_no_window_of_a_file_reaches_over_a_longer_gap(own, market):
    features = own(GOOD)
    gapped = replace(market, segment=(np.arange(3000) >= 1000).astype(np.int32))
    audit_features(features, gapped)
    alone = market_features(rows_of(market, 1000, 3000), features)[0]
    np.testing.assert_array_equal(market_features(gapped, features)[0][1000:], alone)


def test_a_peek_in_the_second_stretch_alone_is_found(own, market):
    gapped = replace(market, segment=(np.arange(3000) >= 1000).astype(np.int32))
    text = """
import numpy as np
def features(candles):
    late = candles.time[0] > LIMIT
    return (np.roll(candles.close, -1 if late else 0, 0) / candles.close)[..., None], ["a"]
""".replace("LIMIT", str(int(market.time[500])))
    assert "knows later candles" in refused(text, own, gapped)


def test_names_that_change_with_the_candles_are_refused(own, market):
    text = """
import numpy as np
def features(candles):
    return candles.close[..., None] * 0, ["a" if len(candles.close) > 2000 else "b"]
"""
    assert "named a, then b" in refused(text, own, market)


def test_what_a_file_remembers_reaches_no_other_call(own, market):
    text = "seen = []\n" + GOOD.replace("close = np.log", "seen.append(1)\n    close = len(seen) * np.log")
    audit_features(own(text), market)


def test_own_features_come_back_from_their_names_and_code(own, market):
    features = own(GOOD, "base", "trend")
    stored = {one.name: list(one.names) for one in features.sets}
    again = restore_features(stored, features.files, "here")
    assert again.marks == features.marks == ("base", "trend", hashlib.sha256(GOOD.encode()).hexdigest())
    for ours, theirs in zip(market_features(market, again), market_features(market, features), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InputError, match=r"here: the features of base were rsi"):
        restore_features({"base": ["rsi"]}, {}, "here")
    with pytest.raises(InputError, match=r"here: --features waves: must be one of base, trend"):
        restore_features({"waves": ["crest"]}, {}, "here")


def test_the_hash_of_an_observation_follows_the_code_of_its_features(own):
    hashes = [features_hash(SYMBOLS, HOUR_MS, own(text)) for text in (GOOD, GOOD + "\n# another file\n")]
    hashes += [features_hash(SYMBOLS, HOUR_MS), features_hash(SYMBOLS, HOUR_MS, own(GOOD, "base", "trend"))]
    assert len(set(hashes)) == 4


def test_the_same_features_in_another_order_are_another_observation(market):
    one, other = (load_features(names, market) for names in (("base", "trend"), ("trend", "base")))
    assert features_hash(SYMBOLS, HOUR_MS, one) != features_hash(SYMBOLS, HOUR_MS, other)
    values = market_features(market, other)[0]
    np.testing.assert_array_equal(values[..., 4:], market_features(market)[0])


def test_two_features_of_one_name_are_refused(market):
    with pytest.raises(InputError, match="price is a feature of base"):
        Features((*BASE.sets, *BASE.sets))
