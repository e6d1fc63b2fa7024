"""The replay: parity bit for bit, a gap whose parts add up and are where their causes are, a page."""

import json
from dataclasses import replace

import numpy as np
import pytest
from paper import Exchange, Paper

from export.live.desk import base_by
from export.live.final import final_book
from export.live.replay import Source, compare, waterfall
from export.replay import main
from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.times import HOUR_MS

pytest_plugins = ("server_fixtures",)
pytest.importorskip("jax2onnx")
BARS = 40
PARTS = ("revision", "delay", "cost", "model")


def source_of(paper, records=None):
    model = paper.model
    return Source(records or paper.records(), {model.digest: model}, {model.digest: base_by(model)})


def parts_of(paper):
    source = source_of(paper)
    final, revisions = final_book(source, paper.exchange.final())
    return waterfall(source, final), revisions, source


def total(record, name):
    (state,) = record["state"]
    return state[name]["log_equity"]


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_nothing_revised_nothing_late_is_the_backtest_bit_for_bit(bundles, name, tmp_path):
    paper = Paper(bundles[name], tmp_path)
    paper.run(BARS // 2), paper.run(BARS // 2)
    parts, revisions, source = parts_of(paper)
    assert compare(source)._asdict() == {
        "bars": BARS,
        "decisions": BARS,
        "differences": 0,
        "largest": 0.0,
        "first": "",
    }
    assert not any(revisions)
    assert not any(np.any(getattr(parts, part)) for part in PARTS)
    np.testing.assert_array_equal(parts.backtest, parts.paper)
    np.testing.assert_allclose(parts.paper, [total(paper.bars()[-1], x) for x in ("policy", "base")], atol=1e-12)


CAUSES = {
    "revision": lambda exchange: revise(exchange, 3),
    "delay": lambda exchange: None,
    "cost": lambda exchange: None,
}


def revise(exchange, k):
    """Half an hour after the close the candle has another close, and a high above it."""
    close = exchange.versions["SYN1", exchange.at(k)][0][1].close
    exchange.revise("SYN1", k, 1_800_000, close=1.001 * close, high=1.01 * close)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_stands_in_its_own_part_and_the_parts_add_up(bundles, cause, tmp_path):
    exchange = Exchange(bundles["mlp"])
    CAUSES[cause](exchange)
    paper = Paper(bundles["mlp"], tmp_path, exchange, **({"commission_rate": 0.002} if cause == "cost" else {}))
    paper.run(BARS // 2)
    if cause == "delay":
        paper.sleep(2 * HOUR_MS)
    paper.run(BARS // 2)
    parts, revisions, source = parts_of(paper)
    assert compare(source).differences == 0
    for part in PARTS:
        assert np.any(np.abs(getattr(parts, part)) > 1e-9) == (part == cause), part
    np.testing.assert_allclose(parts.backtest + sum(getattr(parts, part) for part in PARTS), parts.paper, rtol=1e-12)
    assert revisions.changed == (cause == "revision")
    assert revisions.late == 0


def test_late_revised_and_dearer_at_once_still_add_up(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    revise(exchange, 3), exchange.drop("SYN2", 12)
    paper = Paper(bundles["mlp"], tmp_path, exchange, commission_rate=0.002)
    paper.run(BARS // 2), paper.sleep(2 * HOUR_MS), paper.run(BARS // 2)
    parts, _, _ = parts_of(paper)
    for part in PARTS:
        assert np.any(np.abs(getattr(parts, part)) > 1e-9) == (part != "model"), part
    np.testing.assert_allclose(parts.backtest + sum(getattr(parts, part) for part in PARTS), parts.paper, rtol=1e-12)


def test_an_account_that_was_altered_after_its_bar_is_found(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(10)
    records = paper.records()
    records[5]["state"][0]["policy"]["log_equity"] += 0.1
    assert compare(source_of(paper, records)).first == records[5]["close"]


def test_a_bundle_that_was_exchanged_between_two_starts_is_replayed_bit_for_bit(bundles, tmp_path):
    first, second = Paper(bundles["lstm"], tmp_path), Paper(bundles["lstm"], tmp_path)
    # As a newer bundle: the same policy with another drift table, which alarms at once.
    table = second.model.drift
    table = replace(table, windows=(3,), thresholds=np.full((1, len(table.names)), 1e-4))
    second.model = replace(second.model, digest="newer", manifest=second.model.manifest | {"drift": table.to_json()})
    for paper in (first, second, first):
        paper.run(10)
    models = {paper.model.digest: paper.model for paper in (first, second)}
    bases = {digest: base_by(model) for digest, model in models.items()}
    assert {tuple(record["lanes"][0]["drift"]) for record in first.bars()} == {(), (3,)}
    assert [k for k, record in enumerate(first.bars()) if record["lanes"][0]["begins"]] == [0, 10, 20]
    assert compare(Source(first.records(), models, bases)).differences == 0


def test_base_positions_of_a_file_are_replayed_as_they_were_known(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(10)
    source, sizing = source_of(paper), paper.model.manifest["sizing"]
    model = replace(paper.model, manifest=paper.model.manifest | {"sizing": sizing | {"base_sizing": "file"}})

    def rewritten(candles):
        return np.full(2, 0.1)

    parts = waterfall(replace(source, models={model.digest: model}, bases={model.digest: rewritten}), source.book())
    assert not np.any(parts.model)
    assert np.any(parts.revision)


@pytest.mark.parametrize("what", ["multiplier", "weight", "observation"])
def test_an_altered_decision_is_found(bundles, what, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(10)
    records = paper.records()
    records[5]["lanes"][0][what][0] += 1e-7
    found = compare(source_of(paper, records))
    assert found.differences == 1
    assert found.first == records[5]["close"]


def test_the_command_prints_the_gap_and_writes_a_page(bundles, tmp_path, capsys):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(BARS)
    assert run_command(main, [str(paper.log), str(bundles["mlp"])]) == 0
    output = capsys.readouterr().out
    assert "bit for bit" in output
    assert "paper account" in output
    assert "INCONCLUSIVE" in output
    assert "<h1>Paper trading of" in (tmp_path / "log.html").read_text()
    records = paper.records()
    records[7]["state"][0]["policy"]["log_equity"] += 1e-3
    records[7]["lanes"][0]["settled"]["policy"]["log_return"] += 1e-3
    paper.log.write_text("".join(json.dumps(record) + "\n" for record in records))
    prom = tmp_path / "himari.prom"
    assert run_command(main, [str(paper.log), str(bundles["mlp"]), "--metrics-file", str(prom)]) == 1
    assert 'himari_replay_differences{model="mlp"} 1.0' in prom.read_text()
    assert "1 entries differ" in capsys.readouterr().out


def test_what_would_destroy_the_log_or_compare_nothing_is_refused(bundles, tmp_path, capsys):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(3)
    text = paper.log.read_bytes()
    for flag in ("--out", "--metrics-file"):
        assert run_command(main, [str(paper.log), str(bundles["mlp"]), flag, str(paper.log)]) == 2
        assert f"{flag} {paper.log}: is the decision log itself" in capsys.readouterr().err
        assert paper.log.read_bytes() == text
    source = source_of(paper)
    elsewhere = [row._replace(time=row.time + 10**12) for row in paper.exchange.final()]
    with pytest.raises(InputError, match="none of SYN1 SYN2 from"):
        final_book(source, elsewhere)


def test_a_log_of_another_bundle_is_refused(bundles, tmp_path, capsys):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(3)
    assert run_command(main, [str(paper.log), str(bundles["lstm"])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "was not given" in line
