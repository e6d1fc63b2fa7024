import numpy as np
import pytest

from train.artifacts.files import null_if_nan
from train.evaluation.rivals import Rival
from train.evaluation.summary import advice, summarize
from train.evaluation.verdict import Evidence, verdict
from train.simulation.history import AccountHistory
from train.simulation.play import SpanHistories

# A policy with an edge: ahead of both rivals by .8, surely, and still one bar later.
BASE = Rival("base", sharpe=1.2, difference=0.8, p=0.01, low=0.2, high=1.4, error=0.35, late=0.7)
CONSTANT = BASE._replace(name="constant", sharpe=1.1, difference=0.9, p=0.005)
EDGE = Evidence(
    sharpe=2.0,
    rival=BASE,
    rivals=(BASE, CONSTANT),
    trials=1,
    late_sharpe=1.9,
    late_interval=(-0.3, 0.1),
    spread=0.3,
)


ONE = np.array([0.02])  # a ledger with a single trial


def verdict_with(rival=None, **changes):
    found = BASE._replace(**rival or {})
    return verdict(EDGE._replace(rival=found, rivals=(found, CONSTANT), **changes))


def test_edge_needs_to_be_ahead_of_both_rivals_and_a_bar_later():
    found = verdict_with()
    assert (found["word"], found["leans"], found["probability"]) == ("EDGE", "to", 0.99)
    assert verdict_with({"p": 0.05})["word"] == "EDGE"
    for rival, leans, reason in (
        ({"p": 0.06}, "to", "an edge needs 0.050 or less"),
        ({"p": 0.7, "difference": -0.2, "high": 0.4}, "against", "-0.20 Sharpe against base (one-sided p 0.700)"),
        ({"late": 0.0}, "to", "one bar later it is not ahead (+0.00)"),
    ):
        found = verdict_with(rival)
        assert (found["word"], found["leans"]) == ("INCONCLUSIVE", leans)
        assert reason in found["reason"]
    doubted = verdict_with(doubts=("an audit failed",))
    assert doubted["word"] == "INCONCLUSIVE"
    assert doubted["reason"] == "an audit failed"


def test_trials_share_the_level():
    assert verdict_with(trials=5)["word"] == "EDGE"  # p .01 against 1 - .95 ** (1 / 5) = .0102
    found = verdict_with(trials=6)
    assert found["word"] == "INCONCLUSIVE"
    assert "an edge needs 0.009 or less, 5 % shared by 6 trials" in found["reason"]


def test_no_edge_where_what_is_worth_having_is_excluded():
    found = verdict_with({"p": 0.4, "difference": 0.01, "high": 0.09})
    assert found["word"] == "NO EDGE"
    assert "with 95 % confidence it is not ahead by 0.1 (at most +0.09)" in found["reason"]
    assert verdict_with({"p": 0.4, "difference": 0.01, "high": 0.09}, worthwhile=0.05)["word"] == "INCONCLUSIVE"
    # The words rank: a wide interval around a large loss that reaches what is worth having is no proof.
    assert verdict_with({"p": 0.9, "difference": -1.32, "high": 0.4})["leans"] == "against"


def test_no_edge_where_the_policy_is_constant_whatever_its_sharpe():
    assert verdict_with(spread=0.0099)["word"] == "NO EDGE"
    assert verdict_with(spread=0.01)["word"] == "EDGE"


def test_no_edge_where_the_sharpe_lives_on_delay_0():
    found = verdict_with({"late": -2.2}, late_sharpe=-1.0, late_interval=(-4.0, -2.0))
    assert found["word"] == "NO EDGE"
    assert "delay 0" in found["reason"]
    # Falling, but not below the rival: that is no leak, only a doubt.
    assert verdict_with({"late": 0.1}, late_sharpe=1.3, late_interval=(-1.4, -0.1))["word"] == "EDGE"


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
    baselines = {
        "cash": path_of(np.zeros(rows), held=0.0),
        "buy_and_hold": path_of(market),
        "base": path_of(market / 4),
        "constant": path_of(market / 4 + rng.normal(0, 1e-5, rows)),
    }
    last = np.zeros(rows, bool)
    last[-1] = True
    agents = [path_of(agent, multiplier=wobble) for _ in range(seeds)]
    return SpanHistories(agents, path_of(agent if late is None else late), baselines, baselines, last, 8760.0)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).normal(0, 0.01, 3000)


def test_a_strong_policy_is_told_from_the_position_that_it_multiplies(noise):
    result = summarize(play(noise + 0.005), 0, [7], ONE, num_samples=300)[0]
    assert result["verdict"]["word"] == "EDGE"
    difference = result["agent"]["sharpe_difference"]
    assert difference["baseline"] in ("base", "constant")
    assert difference["interval"][0] < difference["value"] < difference["interval"][1]
    assert result["chosen_seed"] == 7
    for name, rival in result["rivals"].items():
        assert rival["difference"] == pytest.approx(result["agent"]["sharpe"] - result["baselines"][name]["sharpe"])
        assert rival["low"] < rival["difference"] < rival["high"]
        assert rival["p"] == 1 / 301


def test_the_second_question_is_about_the_rule_that_did_best_on_validation(noise):
    played = play(noise + 0.0005)
    named = summarize(played, 0, [0], ONE, num_samples=200, rule="cash")[0]["rules"]
    assert (named["rule"], named["chosen_on"]) == ("cash", "validation")
    assert set(named["by_rule"]) == {"cash", "buy_and_hold"}
    assert named["all_p"] == max(rule["p"] for rule in named["by_rule"].values())
    unknown = summarize(played, 0, [0], ONE, num_samples=200)[0]["rules"]
    best = max(unknown["by_rule"], key=lambda name: unknown["by_rule"][name]["sharpe"])
    assert (unknown["rule"], unknown["chosen_on"]) == (best, "this span")


def test_what_a_sample_finds_follows_from_the_error_of_its_own_difference(noise):
    power = summarize(play(noise), 0, [0], ONE, num_samples=400)[0]["power"]
    assert power["even_odds"] == pytest.approx(1.645 * power["standard_error"], rel=1e-3)
    assert power["four_in_five"] == pytest.approx(2.486 * power["standard_error"], rel=1e-3)
    assert power["years"] == pytest.approx(3000 / 8760)
    # Independent of the rivals: the error of a difference of two Sharpe ratios is sqrt(2 / years).
    assert power["standard_error"] == pytest.approx(np.sqrt(2 / power["years"]), rel=0.2)


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


def test_a_lucky_draw_is_no_rule(noise):
    played = play(noise)
    lucky = played._replace(baselines={**played.baselines, "random": path_of(noise + 0.01)})
    result = summarize(lucky, 0, [0], ONE, num_samples=100)[0]
    assert result["baselines"]["random"]["sharpe"] > 50
    assert "random" not in result["rules"]["by_rule"]


def test_equal_seeds_are_told_and_change_no_verdict(noise):
    alone = summarize(play(noise + 0.005), 0, [0], ONE, num_samples=100)[0]
    result = summarize(play(noise + 0.005, seeds=3), 1, [0, 1, 2], ONE, num_samples=100)[0]
    assert result["across_seeds"]["collapsed"] is True
    assert result["across_seeds"]["multiplier_correlation"] == pytest.approx(1)
    assert result["verdict"]["word"] == alone["verdict"]["word"] == "EDGE"
    assert any("the seeds decide alike" in line for line in result["advice"])
    assert result["across_seeds"]["sharpe_std"] == pytest.approx(0)
    assert [agent["seed"] for agent in result["seeds"]] == [0, 1, 2]
    intervals = [agent["sharpe_interval"] for agent in result["seeds"]]
    assert intervals[0] == intervals[1] == intervals[2]


def test_seeds_agree_by_what_they_decide_and_not_by_what_moves_their_base(noise):
    rng, played = np.random.default_rng(0), play(noise, seeds=2)
    swings = np.abs(np.cumsum(rng.normal(0, 1, (3000, 1)), 0)) + 1
    agents = []
    for _ in range(2):
        multiplier = rng.uniform(0.9, 1.1, (3000, 1))
        agents.append(path_of(noise, multiplier=multiplier)._replace(held=swings * multiplier))
    across = summarize(played._replace(agents=agents), 0, [0, 1], ONE, num_samples=50)[0]["across_seeds"]
    assert np.corrcoef(agents[0].held[:, 0], agents[1].held[:, 0])[0, 1] > 0.95
    assert abs(across["multiplier_correlation"]) < 0.1
    assert not across["collapsed"]


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
