import numpy as np
import pytest

from train.artifacts.files import null_if_nan
from train.evaluation.summary import advice, summarize
from train.evaluation.verdict import Evidence, verdict
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

# A policy with an edge: ahead by .8 (interval above 0), surely above 0, still ahead one bar later.
EDGE = Evidence(
    sharpe=2.0,
    baseline="buy_and_hold",
    baseline_sharpe=1.2,
    difference=0.8,
    difference_interval=(0.1, 1.5),
    deflated_sharpe=0.99,
    trials=3,
    late_sharpe=1.9,
    late_difference=0.7,
    late_interval=(-0.3, 0.1),
    spread=0.3,
    detectable=1.16,
)


ONE = np.array([0.02])  # a ledger with a single trial


def judged(**changes):
    found = verdict(EDGE._replace(**changes))
    return found["word"], found["reason"]


def test_edge_needs_interval_probability_and_a_bar_of_delay():
    assert judged()[0] == "EDGE"
    for change, reason in (
        ({"difference_interval": (-0.1, 1.5)}, "does not exclude 0"),
        ({"deflated_sharpe": 0.95}, "3 trials"),
        ({"late_difference": 0.0}, "one bar later"),
    ):
        word, why = judged(**change)
        assert word == "INCONCLUSIVE"
        assert reason in why
        assert "1.16" in why  # the Sharpe that this sample could confirm is always said


def test_no_edge_where_the_interval_lies_below_0():
    assert judged(difference=-0.8, difference_interval=(-1.5, -0.1), sharpe=0.4)[0] == "NO EDGE"


def test_no_edge_where_the_policy_is_constant_whatever_its_sharpe():
    assert judged(spread=0.0099)[0] == "NO EDGE"
    assert judged(spread=0.01)[0] == "EDGE"


def test_no_edge_where_the_sharpe_lives_on_delay_0():
    word, reason = judged(late_sharpe=-1.0, late_difference=-2.2, late_interval=(-4.0, -2.0))
    assert word == "NO EDGE"
    assert "delay 0" in reason
    # Falling, but not below the baseline: that is no leak, only a doubt.
    assert judged(late_sharpe=1.3, late_difference=0.1, late_interval=(-1.4, -0.1))[0] == "EDGE"


def path_of(returns, assets=1, held=0.25, multiplier=None):
    rows = len(returns)
    weights = np.full((rows, assets), held)
    return AccountHistory(
        multiplier=np.ones((rows, assets)) if multiplier is None else multiplier,
        held=weights,
        delta=np.zeros((rows, assets)),
        cost=np.zeros(rows),
        pnl=np.asarray(returns)[:, None] / assets * np.ones((1, assets)),
        returns=np.asarray(returns),
    )


def play(agent, seeds=1, late=None, moving=True):
    rows = len(agent)
    rng = np.random.default_rng(5)
    wobble = rng.uniform(0, 2, (rows, 1)) if moving else np.ones((rows, 1))
    market = rng.normal(0, 0.01, rows)
    baselines = {"cash": path_of(np.zeros(rows), held=0.0), "buy_and_hold": path_of(market)}
    last = np.zeros(rows, bool)
    last[-1] = True
    agents = [path_of(agent, multiplier=wobble) for _ in range(seeds)]
    return SpanHistories(agents, path_of(agent if late is None else late), baselines, baselines, last, 8760.0)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).normal(0, 0.01, 3000)


def test_a_strong_policy_is_told_from_the_best_baseline(noise):
    result = summarize(play(noise + 0.005), 0, [7], ONE, num_samples=300)[0]
    assert result["verdict"]["word"] == "EDGE"
    difference = result["agent"]["sharpe_difference"]
    sharpes = {name: block["sharpe"] for name, block in result["baselines"].items()}
    best = max(sharpes, key=lambda name: np.nan_to_num(sharpes[name]))
    assert difference["baseline"] == best
    assert difference["interval"][0] < difference["value"] < difference["interval"][1]
    assert result["chosen_seed"] == 7


def test_a_policy_that_sees_the_future_is_told_by_its_delay(noise):
    # On time it earns |r|, one bar later sign(r[t-1]) r[t]: nothing.
    late = np.sign(np.roll(noise, 1)) * noise
    result = summarize(play(np.abs(noise), late=late), 0, [0], ONE, num_samples=300)[0]
    assert result["verdict"]["word"] == "NO EDGE"
    assert "delay 0" in result["verdict"]["reason"]


def test_cash_counts_as_sharpe_0_and_is_null(noise):
    result = null_if_nan(summarize(play(noise - 0.01), 0, [0], ONE, num_samples=100)[0])
    assert result["baselines"]["cash"]["sharpe"] is None
    assert result["baselines"]["cash"]["sharpe_interval"] == [0.0, 0.0]
    assert result["verdict"]["word"] == "NO EDGE"


def test_a_lucky_draw_is_no_rival(noise):
    played = play(noise)
    lucky = played._replace(baselines={**played.baselines, "random": path_of(noise + 0.01)})
    result = summarize(lucky, 0, [0], ONE, num_samples=100)[0]
    assert result["baselines"]["random"]["sharpe"] > 50
    assert result["agent"]["sharpe_difference"]["baseline"] != "random"


def test_equal_seeds_raise_the_alarm(noise):
    result = summarize(play(noise, seeds=3), 1, [0, 1, 2], ONE, num_samples=100)[0]
    assert result["across_seeds"]["collapsed"] is True
    assert result["across_seeds"]["sharpe_std"] == pytest.approx(0)
    assert [agent["seed"] for agent in result["seeds"]] == [0, 1, 2]
    intervals = [agent["sharpe_interval"] for agent in result["seeds"]]
    assert intervals[0] == intervals[1] == intervals[2]


def test_most_of_the_exposure_in_one_of_several_assets_gets_advice():
    path = path_of(np.zeros(10), assets=2)
    even = path._replace(held=np.tile([0.3, 0.3], (10, 1)))
    odd = path._replace(held=np.tile([0.5, 0.01], (10, 1)))
    assert advice(even) == []
    assert "98%" in advice(odd)[0]
    assert advice(path_of(np.zeros(10))) == []  # one asset is no portfolio


def test_json_holds_no_nan():
    assert null_if_nan({"a": [np.nan, 1.0, (np.inf, "x")], "b": np.float64(2)}) == {
        "a": [None, 1.0, [None, "x"]],
        "b": 2.0,
    }
