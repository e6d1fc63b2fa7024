"""What the paper loop shows to Prometheus is what its log says, also after a restart."""

import numpy as np
import pytest
from paper import Exchange, Paper
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from export.live.book import Book
from export.live.desk import Desk, base_by
from export.live.drift_watch import DriftWatch
from export.live.metrics import PaperMetrics
from himari_jax.drift import alarms, count_bins
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
        metrics.count(record)
    metrics.judge()
    again.catch_up(paper.records())
    assert samples(metrics) == samples(again)
    found = samples(metrics)
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
    assert watch.look() == {}
    watch.add(rows[length - 1 :])
    places = table.place(rows[:, [model.names.index(name) for name in table.names]])
    scores = table.scores(count_bins(places, length), 0)
    assert (length in watch.alarms()) == bool(alarms(scores)[-1])
    shown, outside = watch.look()[length]
    np.testing.assert_allclose(list(shown.values()), scores[-1])
    assert all(0 <= share <= 1 for share in outside.values())
