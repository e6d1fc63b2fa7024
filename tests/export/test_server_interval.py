"""Bundles of policies that decided every D bars: one step of a memory is one decision, and any bar may be asked."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from serving import Desk, copy_bundle, multipliers

from export.bundling.exporter import decision_words, fewest_candles
from export.loading import load
from himari_jax.errors import InputError
from train.config.market import MarketConfig

pytest_plugins = ["server_fixtures"]
DAY = 24


@pytest.fixture(scope="module")
def daily(bundles, tmp_path_factory):
    """Desks on the bundles of hourly policies that say of themselves that they decide once a day."""
    folder = tmp_path_factory.mktemp("daily")
    made = {name: copy_bundle(path, folder / name, decide_every="24h") for name, path in bundles.items()}
    return {name: Desk(path) for name, path in made.items()}


@pytest.mark.parametrize("step", [0, 5, 23, 24, 255])
def test_a_policy_without_memory_answers_at_any_bar(daily, mlp, step):
    found = []
    for desk in (daily["mlp"], mlp):
        desk.at(step)
        found.append(multipliers(desk.one(desk.asked(step))))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("later", [1, DAY - 1, DAY, DAY + 1, 2 * DAY])
def test_a_token_goes_on_at_the_next_decision_alone(daily, later):
    desk = daily["lstm"]
    desk.at(5)
    token = desk.one(desk.asked(5))["carry"]
    desk.at(5 + later)
    status, answer = desk.predict(desk.asked(5 + later, carry=token))
    assert status == (200 if later == DAY else 409)
    if later != DAY:
        assert answer["error"]["code"] == "token_bar"
        assert "the decision 24 bars before" in answer["error"]["message"]


def test_a_history_is_of_the_accounts_of_the_decisions_before(daily):
    desk, steps = daily["lstm"], range(3, 3 + 5 * DAY, DAY)
    token = {}
    for k in steps:
        desk.at(k)
        answer = desk.one(desk.asked(k, **token))
        token = {"carry": answer["carry"]}
    past = [desk.account(k) for k in steps[:-1]]
    found = multipliers(desk.one(desk.asked(steps[-1], history=past)))
    np.testing.assert_allclose(found, multipliers(answer), rtol=0, atol=1e-6)
    hourly = [desk.account(k) for k in range(steps[-1] - 4, steps[-1])]
    assert np.abs(multipliers(desk.one(desk.asked(steps[-1], history=hourly))) - found).max() > 1e-6


def test_a_history_needs_the_candles_of_its_decisions(daily):
    desk = daily["lstm"]
    desk.at(-1)
    past = [desk.account(k) for k in (-1 - 2 * DAY, -1 - DAY)]
    need = desk.model.min_candles + 2 * DAY
    assert desk.predict(desk.asked(history=past) | {"candles": desk.candles(rows=need)})[0] == 200
    status, answer = desk.predict(desk.asked(history=past) | {"candles": desk.candles(rows=need - 1)})
    assert (status, answer["error"]["field"]) == (400, "instances[0].history")
    assert "allowed: at least 400 and 24 more for each account" in answer["error"]["message"]


def test_a_history_of_observations_is_one_of_each_decision(daily, lstm):
    past = lstm.golden["observation"][:40].tolist()
    for name in ("multiplier", "weight"):
        ours, theirs = (
            desk.one(desk.seen(40, history=past))["symbols"]["SYN1"][name] for desk in (daily["lstm"], lstm)
        )
        assert ours == theirs


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decide_every": "90m"}, "no whole number of bars"),
        ({"decide_every": "5 days"}, "decide_every is '5 days'"),
        ({"decide_every": 24}, "decide_every is 24"),
        ({"decide_every": "0h"}, "decide_every is '0h'"),
        ({"decide_every": "400h"}, "min_candles does not reach back to the decision before"),
        ({"pool": "yes"}, "pool is neither true nor false"),
        ({"pool": True}, "its tensors are"),
    ],
)
def test_a_manifest_whose_decisions_make_no_sense_is_refused(bundles, tmp_path, changes, says):
    shutil.copytree(bundles["lstm"], tmp_path / "copy")
    path = tmp_path / "copy" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError) as caught:
        load(tmp_path / "copy")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def trained(memory, **market):
    """As much of a trained run as the manifest's words about decisions need."""
    policy = SimpleNamespace(initial_carry=lambda batch: [np.zeros((batch, 3))] if memory else ())
    config = SimpleNamespace(market=MarketConfig(**market))
    return SimpleNamespace(config=config, policy=policy, features=SimpleNamespace(lookback=lambda bar_ms: 400))


@pytest.mark.parametrize(
    ("memory", "every", "fewest"),
    [(False, None, 400), (False, "20d", 400), (True, None, 400), (True, "399h", 400), (True, "20d", 481)],
)
def test_the_fewest_candles_of_a_memory_reach_back_to_the_decision_before(memory, every, fewest):
    assert fewest_candles(trained(memory, decide_every=every), 3_600_000) == fewest


def test_the_manifest_says_at_which_closes_to_ask(candles):
    hours = candles(1, 10)
    assert decision_words(trained(True), hours) == "ask at the close of every bar"
    words = decision_words(trained(True, decide_every="24h", decide_phase="7h"), hours)
    assert words.startswith("ask at closes that are a multiple of 24h plus 7h, UTC: every 24 bars;")
