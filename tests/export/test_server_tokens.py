import base64
import json

import numpy as np
import pytest
from serving import Desk, copy_bundle, multipliers

pytest_plugins = ["server_fixtures"]


def round_trips(desk, ask, steps):
    """Multipliers of one bar after the other, each with the token of the one before."""
    token, found = {}, []
    for k in steps:
        desk.at(k)
        prediction = desk.one(ask(k, **token))
        token = {"carry": prediction["carry"]}
        found.append(multipliers(prediction))
    return np.array(found), prediction


def test_200_round_trips_of_candles_are_the_golden_rollout_and_the_history_replayed(lstm):
    found, last = round_trips(lstm, lstm.asked, range(200))
    np.testing.assert_allclose(found, lstm.golden["multiplier"][:200], rtol=0, atol=1e-5)
    replayed = lstm.one(lstm.asked(199, history=[lstm.account(k) for k in range(199)]))
    np.testing.assert_allclose(multipliers(replayed), multipliers(last), rtol=0, atol=1e-6)


def test_round_trips_of_observations_equal_the_replayed_history_to_the_byte(lstm):
    found, last = round_trips(lstm, lstm.seen, range(200))
    np.testing.assert_allclose(found, lstm.golden["multiplier"][:200], rtol=0, atol=1e-6)
    history = lstm.golden["observation"][:199].tolist()
    assert lstm.one(lstm.seen(199, history=history)) == last


def test_memory_matters(lstm):
    lstm.at(200)
    fresh = multipliers(lstm.one(lstm.asked(200)))
    assert np.max(np.abs(fresh - lstm.golden["multiplier"][200])) > 1e-6


def test_a_retry_and_another_replica_give_the_same_bytes(lstm, bundles):
    token = lstm.one(lstm.seen(0))["carry"]
    body = json.dumps({"instances": [lstm.seen(1, carry=token)]}).encode()
    again = Desk(bundles["lstm"])
    assert lstm.ask("/predict", body)[2] == lstm.ask("/predict", body)[2] == again.ask("/predict", body)[2]


def test_a_token_is_short_and_safe_in_a_url(lstm):
    token = lstm.one(lstm.seen(0))["carry"]
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    numbers = sum(int(np.prod(shape)) for shape in lstm.model.carry_shapes)
    assert len(token) < 4 / 3 * (4 * numbers + 64)


def refused(desk, code, **instance):
    status, answer = desk.predict(desk.seen(1, **instance))
    error = answer["error"]
    assert (status, error["code"], error["field"]) == (409, code, "instances[0].carry")
    assert "replay" in error["message"]


def test_a_token_of_another_stream_is_refused(lstm):
    token = lstm.one(lstm.seen(0, stream="desk 1"))["carry"]
    assert lstm.one(lstm.seen(1, stream="desk 1", carry=token))
    refused(lstm, "token_stream", stream="desk 2", carry=token)
    refused(lstm, "token_stream", carry=token)


def test_a_token_of_another_model_is_refused(lstm, mlp, bundles, tmp_path):
    other = Desk(copy_bundle(bundles["lstm"], tmp_path / "other", version="other"))
    token = other.one(other.seen(0))["carry"]
    refused(lstm, "token_model", carry=token)
    refused(mlp, "token_model", carry=token)


def test_a_token_of_another_key_is_refused(lstm, bundles):
    other = Desk(bundles["lstm"], predict_settings={"token_key": b"x" * 32})
    refused(lstm, "token_altered", carry=other.one(other.seen(0))["carry"])


def test_any_altered_letter_of_a_token_is_refused(lstm):
    token = lstm.one(lstm.seen(0))["carry"]
    rng = np.random.default_rng(0)
    for place in [0, 1, len(token) - 1, *rng.integers(0, len(token), 100).tolist()]:
        other = "A" if token[place] != "A" else "B"
        status, answer = lstm.predict(lstm.seen(1, carry=token[:place] + other + token[place + 1 :]))
        assert status == 409
        assert "replay" in answer["error"]["message"]


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 64, "=" * 8, " ", "A" * 100_000])
def test_what_is_no_token_is_refused(lstm, token):
    status, answer = lstm.predict(lstm.seen(1, carry=token))
    assert status == 409
    assert "replay" in answer["error"]["message"]


def test_a_token_cut_or_lengthened_is_refused(lstm):
    raw = base64.urlsafe_b64decode(lstm.one(lstm.seen(0))["carry"])
    for other in (raw[:-1], raw[:-4], raw + b"\0", raw + raw, raw[:25]):
        refused(lstm, "token_altered", carry=base64.urlsafe_b64encode(other).decode())


def test_a_token_that_is_not_of_the_bar_before_is_refused(lstm):
    lstm.at(5)
    token = lstm.one(lstm.asked(5))["carry"]
    for step, status in ((5, 409), (6, 200), (7, 409)):
        lstm.at(step)
        found, answer = lstm.predict(lstm.asked(step, carry=token))
        assert found == status, answer


def test_a_token_of_candles_is_none_of_observations_and_the_reverse(lstm):
    lstm.at(5)
    of_candles, of_numbers = lstm.one(lstm.asked(5))["carry"], lstm.one(lstm.seen(5))["carry"]
    lstm.at(6)
    assert lstm.one(lstm.asked(6, carry=of_candles))
    assert lstm.one(lstm.seen(6, carry=of_numbers))
    for instance, kinds in (
        (lstm.asked(6, carry=of_numbers), "of observations, beside candles"),
        (lstm.seen(6, carry=of_candles), "of candles, beside an observation"),
    ):
        status, answer = lstm.predict(instance)
        error = answer["error"]
        assert (status, error["code"], error["field"]) == (409, "token_kind", "instances[0].carry")
        assert kinds in error["message"]


def test_a_token_used_again_gives_the_answer_again(lstm):
    token = lstm.one(lstm.seen(0))["carry"]
    assert lstm.one(lstm.seen(1, carry=token)) == lstm.one(lstm.seen(1, carry=token))
    assert lstm.one(lstm.seen(2, carry=token))  # of numbers alone, the server cannot know what was between


def test_token_and_history_together_are_refused(lstm):
    token = lstm.one(lstm.seen(0))["carry"]
    status, answer = lstm.predict(lstm.seen(1, carry=token, history=[]))
    assert (status, answer["error"]["field"]) == (400, "instances[0].carry")


def test_a_model_without_memory_gives_no_token_and_takes_a_history(mlp):
    assert "carry" not in mlp.one(mlp.seen(5))
    assert mlp.one(mlp.seen(5, history=mlp.golden["observation"][:5].tolist())) == mlp.one(mlp.seen(5))


def test_streams_of_one_batch_keep_their_own_memory(lstm):
    one, two = lstm.one(lstm.seen(0, stream="1")), lstm.one(lstm.seen(100, stream="2"))
    pair = lstm.seen(1, stream="1", carry=one["carry"]), lstm.seen(101, stream="2", carry=two["carry"])
    status, answer = lstm.predict(*pair)
    assert status == 200
    for found, instance in zip(answer["predictions"], pair, strict=True):
        np.testing.assert_allclose(multipliers(found), multipliers(lstm.one(instance)), rtol=0, atol=1e-6)
