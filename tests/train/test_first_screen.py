"""The first screen of the report: what the verdict is, why, what to do next, and what it is in money."""

import pytest
from report_runs import block, make_result, make_run, read

from train.reporting.report import write_report
from train.reporting.verdict_sentences import NEXT


def named(word="INCONCLUSIVE", leans="to", probability=0.9, **more):
    """Keys of a result with named rivals that an older one lacks."""
    rival = {"name": "base", "sharpe": 0.8, "difference": 0.2, "p": 0.1, "low": -0.1, "high": 0.5, "late": 0.1}
    power = {"years": 2.0, "standard_error": 0.3, "even_odds": 0.49, "four_in_five": 0.75, "years_needed": 27.0}
    return {
        "verdict": {"word": word, "reason": "an edge needs less", "leans": leans, "probability": probability},
        "rivals": {"base": rival},
        "power": power | {"worthwhile": 0.1, "level": 0.05},
        **more,
    }


def header(path):
    """The text of the page up to its sections."""
    return path.read_text().split("<header>")[1].split("</header>")[0]


@pytest.mark.parametrize(
    ("word", "leans", "step"),
    [
        ("EDGE", "to", NEXT["EDGE"]),
        ("NO EDGE", None, NEXT["NO EDGE"]),
        ("INCONCLUSIVE", "to", NEXT["to"]),
        ("INCONCLUSIVE", "against", NEXT["against"]),
    ],
)
def test_word_comparison_next_step_money_and_reason_stand_in_this_order(tmp_path, word, leans, step):
    text = header(write_report(make_run(tmp_path / "run", rows=900, **named(word, leans))))
    parts = (f">{word}<", "The multiplier adds +0.20 Sharpe", step, "100,000 became", "Why: An edge needs less.")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_rule_and_a_file_of_weights_are_not_called_a_multiplier(tmp_path):
    for kind, lead in (("rule", "The rule adds +0.20 Sharpe"), ("weights", "The weights add +0.20 Sharpe")):
        for word in ("EDGE", "NO EDGE", "INCONCLUSIVE"):
            text = header(write_report(make_run(tmp_path / kind / word, rows=900, kind=kind, **named(word))))
            assert lead in text
            assert "the multiplier" not in text
            assert "--pool" not in text


def test_an_undecided_verdict_says_where_it_leans_and_a_decided_one_does_not(tmp_path):
    open_ = header(write_report(make_run(tmp_path / "open", rows=900, **named())))
    edge = header(write_report(make_run(tmp_path / "edge", rows=900, **named("EDGE"))))
    assert "<small>leaning to an edge (90%)</small>" in open_
    assert "leaning" not in edge


def test_money_is_the_capital_times_what_one_unit_became_with_the_policy_and_each_rival(tmp_path):
    agent = block(final_equity=1.5, cost_drag=0.02, sharpe_difference=make_result(["A"])["agent"]["sharpe_difference"])
    baselines = {"base": block(final_equity=1.25), "constant": block(final_equity=0.9)}
    run = make_run(tmp_path / "run", rows=900, agent=agent, baselines=baselines)
    text = header(write_report(run))
    for amount, gain in (("150,000", "+50.0%"), ("125,000", "+25.0%"), ("90,000", "-10.0%")):
        assert f"<td>{amount}</td><td>{gain}</td>" in text
    assert "costs of 2.00% of the account a year" in text
    assert "at 10 bp of what is traded" in text


def test_an_older_result_leads_with_its_reason_and_names_no_next_step(tmp_path):
    page = write_report(make_run(tmp_path / "run", rows=900))
    assert '<p class="reason">The interval does not exclude 0.</p>' in header(page)
    assert "Next:" not in read(page).words


@pytest.mark.parametrize(("trips", "shown"), [(None, "50.0%"), (4, "–"), (5, "50.0% of 5"), (1200, "50.0% of 1,200")])
def test_a_share_of_few_trips_is_not_shown(tmp_path, trips, shown):
    block_of_agent = block(sharpe_difference=make_result(["A"])["agent"]["sharpe_difference"])
    agent = block_of_agent | ({} if trips is None else {"trips": trips})
    page = (
        write_report(make_run(tmp_path / "run", rows=900, agent=agent)).read_text().split("Agent and baselines</h2>")[1]
    )
    heads, row = page.split("<thead>")[1].split("</thead>")[0], page.split('<tr class="agent"><th')[1]
    place = heads.split("win rate, trips")[0].count("<th") - 1
    assert row.split("<td>")[1 + place].startswith(f"{shown}</td>")
