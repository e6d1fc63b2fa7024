"""Metrics of the paper loop agree with its log, also after a restart."""

import numpy as np
import pytest
from paper import Exchange, Paper
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from export.bundling.test_span import figures_of
from export.live.book import Book, Row
from export.live.desk import NOT_FINITE, Desk, base_by
from export.live.drift_watch import DriftWatch
from export.live.figures import AccountFigures
from export.live.metrics import LEAST_DECISIONS, PaperMetrics, write_parity
from export.live.replay import Parity, portfolio
from himari_jax.drift import alarms, count_bins
from himari_jax.errors import StorageError
from himari_jax.statistics import metrics as statistics
from himari_jax.times import HOUR_MS

pytest_plugins = ("server_fixtures",)
pytest.importorskip("jax2onnx")


def samples(metrics):
    """Values by name and labels besides the model's."""
    found = {}
    for family in parse(generate_latest(metrics.registry).decode()):
        for sample in (x for x in family.samples if not x.name.endswith("_created")):
            labels = tuple(value for name, value in sorted(sample.labels.items()) if name != "model")
            found[sample.name, *labels] = sample.value
    return found


@pytest.fixture
def metrics(bundles, tmp_path):
    """Metrics of a loop that has not begun."""
    paper = Paper(bundles["mlp"], tmp_path)
    desk = Desk(paper.model, Book(paper.model.symbols, HOUR_MS), paper.terms, base_by(paper.model))
    return PaperMetrics(desk, 8760.0)


def record(**lane):
    """A bar of the log with one lane."""
    return {"lanes": [lane], "late": False, "revised": 0, "refused": [], "failures": 0}


def test_the_figures_of_the_test_span_are_those_of_the_report_and_of_no_other_seed(metrics):
    model, found = metrics.desk.model, samples(metrics)
    agent = model.manifest["backtest"]["agent"]
    assert found["himari_paper_test_span", "turnover"] == agent["turnover"] == model.test_span["turnover"]
    assert found["himari_paper_test_span", "cost"] == agent["cost_drag"]
    assert found["himari_paper_test_span", "drawdown"] == agent["max_drawdown_interval"][0] <= agent["max_drawdown"]
    assert found["himari_paper_test_span", "multiplier_deviation"] > 0
    result = {"agent": agent, "multiplier_deviation": 0.1}
    assert figures_of(result, agent["seed"]) is not None
    assert figures_of(result, agent["seed"] + 1) is None
    assert figures_of({}, 0) is None


def test_costs_are_yearly_and_the_deviation_is_that_of_the_symbol_that_moves_most(metrics):
    settled = {"log_return": 0.0, "held": [0.1, 0.1], "delta": [0.1, -0.1], "cost": 2e-4}
    multipliers = [[1.0, 1.0 + 0.5 * (-1) ** k] for k in range(LEAST_DECISIONS)]
    for k, multiplier in enumerate(multipliers):
        assert ("himari_paper_multiplier_deviation",) not in samples(metrics) or k == 0
        metrics.count(record(settled={"policy": settled, "base": settled}, multiplier=multiplier))
    metrics.refresh()
    found = samples(metrics)
    assert found["himari_paper_multiplier_deviation",] == pytest.approx(0.5)
    assert found["himari_paper_cost_yearly", "policy"] == pytest.approx(2e-4 * 8760)
    assert found["himari_paper_turnover_yearly", "policy"] == pytest.approx(0.2 * 8760)


def test_figures_bar_by_bar_are_those_of_the_whole_series():
    rng, year = np.random.default_rng(0), 8760.0
    logs, traded, paid = rng.normal(0, 0.01, 300), rng.uniform(0, 1, 300), rng.uniform(0, 1e-3, 300)
    held = rng.uniform(0, 1, 300) * (rng.random(300) < 0.7)
    account = AccountFigures()
    assert account.figures(year)["equity"] == 1.0
    for k, bar in enumerate(zip(logs, held, traded, paid, strict=True), 1):
        account.add(*map(float, bar))
        if k not in (1, 2, 3, 10, 300):
            continue
        found, r = account.figures(year), np.expm1(logs[:k])
        wanted = {"equity": np.exp(logs[:k].sum()), "drawdown": statistics.max_drawdown(r)}
        wanted |= {"turnover": statistics.turnover(traded[:k], year), "cost": statistics.cost_drag(paid[:k], year)}
        wanted |= {"sharpe": statistics.sharpe(r, year)} if k > 2 else {}
        wanted |= {"win_rate": statistics.win_rate_bar(r, held[:k, None])} if held[:k].any() else {}
        assert found == pytest.approx(wanted, rel=1e-12, nan_ok=True)


def test_a_pool_holds_an_equal_share_of_equity_in_each_account():
    returns = np.random.default_rng(0).normal(0, 0.02, (2, 50, 3))
    np.testing.assert_allclose(np.expm1(portfolio(np.log1p(returns))), returns.mean(-1), rtol=0, atol=1e-15)
    alone = np.log1p(returns[..., :1])
    np.testing.assert_array_equal(portfolio(alone), alone[..., 0])


def test_an_output_that_is_no_number_is_counted_apart(metrics):
    metrics.count(record(undecided="no base position is known"))
    metrics.count(record(undecided=NOT_FINITE))
    found = samples(metrics)
    assert found["himari_paper_undecided_total",] == 2
    assert found["himari_paper_nonfinite_total",] == 1


def test_parity_is_written_for_the_textfile_collector_or_the_line_says_why_not(tmp_path):
    path = tmp_path / "himari.prom"
    write_parity(path, "m", Parity(10, 9, 2, 3e-6, "x"), 1.7e9)
    found = {x.name: x.value for family in parse(path.read_text()) for x in family.samples}
    assert found == {
        "himari_replay_differences": 2,
        "himari_replay_largest_gap": 3e-6,
        "himari_replay_done_seconds": 1.7e9,
    }
    with pytest.raises(StorageError, match=r"--metrics-file .*none/x\.prom: No such file"):
        write_parity(tmp_path / "none" / "x.prom", "m", Parity(0, 0, 0, 0.0, ""), 0.0)


def test_metrics_say_what_the_log_says_and_survive_a_restart(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    exchange.drop("SYN2", 7)
    exchange.revise("SYN1", 3, 1_800_000, volume=1.0)
    paper = Paper(bundles["mlp"], tmp_path, exchange)
    paper.run(20)
    desk = Desk(paper.model, Book(paper.model.symbols, HOUR_MS), paper.terms, base_by(paper.model))
    metrics, again = (PaperMetrics(desk, 8760.0) for _ in range(2))
    bars = paper.bars()
    for record in bars:
        for row in record["candles"]:
            desk.book.enter(Row(*row))
        metrics.update(record)
    again.catch_up(paper.records())
    assert samples(metrics) == samples(again)
    found = samples(metrics)
    assert found["himari_paper_newest_candle_close_seconds", "SYN1"] == (bars[-1]["time"] + HOUR_MS) / 1000
    assert found["himari_paper_bars_total",] == 20
    assert found["himari_paper_skipped_total",] == 1
    assert found["himari_paper_decisions_total",] == 19
    assert found["himari_paper_revised_total",] == 1
    for name in ("policy", "base"):
        np.testing.assert_allclose(found["himari_paper_equity", name], np.exp(bars[-1]["state"][0][name]["log_equity"]))
    assert -1 < found["himari_paper_max_drawdown", "policy"] <= 0
    assert 0 <= found["himari_paper_win_rate", "policy"] <= 1


def test_the_watch_alarms_as_the_table_does(bundles):
    model = Paper(bundles["mlp"], bundles["mlp"]).model
    table = model.drift
    watch, rng = DriftWatch(model, table), np.random.default_rng(0)
    length = table.windows[0]
    rows = rng.normal(0, 1, (3 * length, model.width))  # nothing that a market shows
    for row in rows[: length - 1]:
        watch.add(row)
    assert watch.alarms() == []
    assert watch.figures() == {}
    watch.add(rows[length - 1 :])
    places = table.place(rows[:, [model.names.index(name) for name in table.names]])
    scores = table.scores(count_bins(places, length), 0)
    assert (length in watch.alarms()) == bool(alarms(scores)[-1])
    shown, outside = watch.figures()[length]
    np.testing.assert_allclose(list(shown.values()), scores[-1])
    assert all(0 <= share <= 1 for share in outside.values())
