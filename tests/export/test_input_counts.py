"""The server counts the inputs that it was asked about, as the bundle's own table does, over workers and restarts."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse
from serving import Desk, copy_bundle

from export.serving.telemetry.input_counts import InputCounts, bins_of
from himari_jax.drift import BINS, count_bins
from himari_jax.errors import InputError

pytest_plugins = ["server_fixtures"]


def counted(page):
    """Values of the metrics of inputs, by name, feature and bin or window."""
    found = {}
    for family in parse(page.decode()):
        for x in family.samples:
            if x.name.startswith("himari_input_"):
                found[x.name, x.labels.get("feature"), x.labels.get("bin", x.labels.get("window"))] = x.value
    return found


def inputs(desk, rows):
    """Market inputs of observations."""
    return np.asarray(rows, np.float32)[:, desk.model.drift_places].astype(np.float64)


@pytest.fixture
def asked(mlp):
    """A desk that answered a single row, a request of three, and two rows by the open protocol; and the rows."""
    rows = mlp.golden["observation"][-6:].copy()
    rows[1, mlp.model.drift_places[0]] = 9.0  # nothing that training saw
    bodies = [[rows[0]], rows[1:4]]
    for some in bodies:
        instances = [{"observation": x.tolist(), "features_hash": mlp.model.features_hash} for x in some]
        assert mlp.ask("/predict", json.dumps({"instances": instances}).encode())[0] == 200
    tensor = {"name": "observation", "shape": [2, mlp.model.width], "datatype": "FP32"}
    tensor["data"] = rows[4:].ravel().tolist()
    path = f"/v2/models/{mlp.model.name}/infer"
    assert mlp.ask(path, json.dumps({"inputs": [tensor]}).encode())[0] == 200
    assert mlp.ask("/predict", b'{"instances": [{"observation": [1.0]}]}')[0] == 400  # of no model's inputs
    return mlp, rows


def test_every_answered_row_is_counted_where_the_table_places_it(asked):
    desk, rows = asked
    found, table = counted(desk.metrics.page()), desk.model.drift
    places, outside = count_bins(table.place(inputs(desk, rows)))[0], table.outside(inputs(desk, rows)).sum(0)
    assert found["himari_input_rows_total", None, None] == len(rows)
    assert outside[0] >= 1
    for f, name in enumerate(table.names):
        assert found["himari_input_outside_total", name, None] == outside[f]
        for k in range(BINS):
            assert found["himari_input_bin_total", name, str(k)] == places[f, k]
            assert found["himari_input_expected", name, str(k)] == pytest.approx(max(table.expected[f, k], 1e-4))
    assert counted(desk.metrics.page()) == found  # a scrape changes nothing


def test_thresholds_are_those_of_the_manifest_by_days(mlp):
    found, table = counted(mlp.metrics.page()), mlp.model.drift
    assert table.windows
    for k, length in enumerate(table.windows):
        window = f"{length / 24:g}d"
        assert found["himari_input_window_rows", None, window] == length
        for name, threshold in zip(table.names, table.thresholds[k], strict=True):
            assert found["himari_input_drift_threshold", name, window] == pytest.approx(threshold)


def test_workers_add_up_and_one_that_fell_hands_its_numbers_on(mlp, tmp_path):
    served, rows = mlp.store.current, mlp.golden["observation"][-5:]
    one, two = InputCounts(tmp_path, 0), InputCounts(tmp_path, 1)
    for worker, some in ((one, rows[:2]), (two, rows[2:])):
        worker.use_model(served)
        served.answered.extend(some)
        worker.flush()
    whole = count_bins(mlp.model.drift.place(inputs(mlp, rows)))[0]
    np.testing.assert_array_equal(one.total()[:, :BINS], whole)
    again = InputCounts(tmp_path, 0)
    again.use_model(served)
    np.testing.assert_array_equal(again.total()[:, :BINS], whole)
    served.answered.append(rows[0])
    again.flush()
    assert two.total()[0, :BINS].sum() == len(rows) + 1


def test_what_nobody_reads_does_not_pile_up(mlp):
    seen = mlp.store.current.answered
    for _ in range(2 * seen.maxlen):
        seen.append(mlp.golden["observation"][-1])
    mlp.metrics.inputs.flush()
    assert len(seen) == 0
    assert counted(mlp.metrics.page())["himari_input_rows_total", None, None] == seen.maxlen


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=40))
def test_bins_in_one_pass_are_the_bins(numbers):
    from himari_jax.drift import DriftTable

    edges = np.linspace(-2, 2, BINS - 1)[None]
    table = DriftTable(("f",), edges, np.full((1, BINS), 0.1), edges[:, 0], edges[:, -1], (), np.zeros((0, 1)))
    rows = np.array([*numbers, *edges[0]])[:, None]  # on the edges, too
    np.testing.assert_array_equal(bins_of(table, rows), count_bins(table.place(rows))[0])


def test_a_bundle_whose_drift_is_of_other_inputs_is_refused_and_one_without_is_served(bundles, tmp_path):
    drift = json.loads((bundles["mlp"] / "manifest.json").read_text())["drift"]
    odd = {key: value[:1] for key, value in drift.items()} | {"names": ["NONE.price"], "windows": [], "thresholds": []}
    with pytest.raises(InputError, match=r"drift names NONE\.price"):
        copy_bundle(bundles["mlp"], tmp_path / "odd", drift=odd)
    copy_bundle(bundles["mlp"], tmp_path / "none", drift=None)
    refused = Desk(tmp_path / "odd")
    assert refused.store.current is None
    assert "drift names NONE.price, no input of this policy" in refused.refused[0]
    desk = Desk(tmp_path / "none")
    assert desk.ask("/predict", json.dumps({"instances": [desk.seen()]}).encode())[0] == 200
    assert counted(desk.metrics.page()) == {}
