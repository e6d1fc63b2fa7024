"""A base sizing is audited before anything trains: what looks ahead or gives no positions is refused in one line."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from own import bad_sizings

import envs
from himari_jax.errors import InputError
from himari_jax.plugins import BASE_SIZINGS
from himari_jax.positions import base_positions as base_positions_module
from himari_jax.positions.audit import audit_sizing
from himari_jax.positions.base_positions import base_positions
from himari_jax.positions.sizing import SizingRules

RULES = SizingRules()


@pytest.fixture(scope="module")
def market(candles):
    return candles(2, 1500, seed=11)


@pytest.fixture
def plug_in(monkeypatch):
    """`plug_in(function)`: the base sizing of any name is that function."""

    def make(function):
        monkeypatch.setattr(base_positions_module, "BASE_SIZINGS", SimpleNamespace(load=lambda name: function))

    return make


def refused(market, first=399):
    with pytest.raises(InputError) as caught:
        audit_sizing("mine", market, RULES, first)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("base sizing mine: ")
    return str(caught.value)


@pytest.mark.parametrize("wrong", list(bad_sizings()))
def test_each_bad_base_sizing_is_refused_by_one_line_that_says_why(wrong, plug_in, market):
    function, says = bad_sizings()[wrong]
    plug_in(function)
    assert says in refused(market)


@pytest.mark.parametrize("name", BASE_SIZINGS.names)
@pytest.mark.parametrize("first", [0, 36, 399])
def test_every_shipped_base_sizing_passes_on_several_stretches_whatever_the_look_back(name, first, market):
    gapped = replace(market, segment=(np.arange(1500) >= 600).astype(np.int32))
    audit_sizing(name, gapped, RULES, first)


def test_what_is_not_finite_before_the_decisions_passes_and_after_their_begin_is_refused(plug_in, market):
    def late(candles, rules):
        return np.where(np.arange(len(candles.time))[:, None] < 100, np.nan, np.full(candles.close.shape, 0.1))

    plug_in(late)
    audit_sizing("mine", market, RULES, 100)
    assert "nan for A at" in refused(market, 99)
    with pytest.raises(InputError, match="must be finite from row 98 of a stretch on"):
        audit_sizing("mine", market, RULES, 98)


def test_the_audit_leaves_candles_and_positions_as_they_are(market):
    before = market.fingerprint
    kelly = base_positions("kelly", market, RULES)
    audit_sizing("kelly", market, RULES, 399)
    assert market.fingerprint == before
    np.testing.assert_array_equal(base_positions("kelly", market, RULES), kelly)


def test_a_library_user_is_refused_likewise(plug_in, market):
    plug_in(bad_sizings()["peeks a bar"][0])
    with pytest.raises(InputError, match="base sizing kelly: knows later candles"):
        envs.make(market, base_sizing="kelly")
