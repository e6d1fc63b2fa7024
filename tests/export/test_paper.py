"""The paper loop decides as the environment did, whatever the source does, and a kill loses and doubles nothing."""

import json

import numpy as np
import pytest
from paper import Exchange, Paper
from serving import golden_of

from export.live.log import DecisionLog, read_log
from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.times import HOUR_MS

pytest_plugins = ("server_fixtures",)
pytest.importorskip("jax2onnx")
BARS = 60


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_the_loop_decides_as_the_environment_did(bundles, name, tmp_path):
    paper = Paper(bundles[name], tmp_path)
    paper.run(200)
    golden = golden_of(bundles[name])
    for k, record in enumerate(paper.bars()):
        (lane,) = record["lanes"]
        np.testing.assert_allclose(lane["multiplier"], golden["multiplier"][k], atol=1e-6)
        np.testing.assert_allclose(lane["observation"], golden["observation"][k], atol=1e-5)
        held = record["state"][0]["policy"]
        np.testing.assert_allclose(held["weights"], golden["weights"][k], atol=1e-6)
        np.testing.assert_allclose(held["entry_ratio"], golden["entry_ratio"][k], atol=1e-5)
    assert not any(record["late"] or record["revised"] or record["refused"] for record in paper.bars())


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_a_kill_at_any_byte_of_the_log_changes_no_decision(bundles, name, tmp_path):
    (tmp_path / "whole").mkdir()
    whole, killed = Paper(bundles[name], tmp_path / "whole"), Paper(bundles[name], tmp_path)
    whole.run(BARS)
    rng = np.random.default_rng(0)
    for _ in range(15):
        killed.run(int(rng.integers(1, 6)))
        text = killed.log.read_bytes()
        killed.log.write_bytes(text[: max(text.index(b"\n") + 1, len(text) - int(rng.integers(0, 3000)))])
    killed.run(BARS)
    assert killed.bars()[:BARS] == whole.bars()
    times = [record["time"] for record in killed.bars()]
    assert np.all(np.diff(times) == HOUR_MS)


def test_a_damaged_log_is_refused(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(3)
    lines = paper.log.read_bytes().split(b"\n")
    paper.log.write_bytes(b"\n".join([*lines[:2], b"{oh", *lines[2:]]))
    with pytest.raises(InputError, match="line 3 is damaged"):
        read_log(paper.log)
    paper.log.write_bytes(b"\n".join(lines).replace(b'"candles":[["SYN1",', b'"candles":[["SYN2",', 1))
    with pytest.raises(InputError, match="altered"):
        paper.run(1)


def test_a_log_of_another_version_is_one_line(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(2)
    start, *bars = paper.records()
    cases = {
        "line 2 lacks counted late: another version": [start, without(bars[0], "late", "counted")],
        "line 1 lacks costs": [without(start, "costs"), *bars],
        "line 3 is a start there": [start, bars[0], start],
        "line 2 is a note there": [start, {"kind": "note"}],
    }
    for words, records in cases.items():
        paper.log.write_text("".join(json.dumps(record) + "\r\n" for record in records))
        with pytest.raises(InputError, match=words):
            read_log(paper.log)


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def test_a_start_that_is_refused_leaves_nothing(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    exchange.fetch = lambda since, now: []
    with pytest.raises(InputError, match="no candle of SYN1 SYN2"):
        Paper(bundles["mlp"], tmp_path / "a" / "b", exchange).run(1)
    assert not (tmp_path / "a").exists()


def test_a_log_has_one_writer(tmp_path):
    with DecisionLog(tmp_path / "log"), pytest.raises(InputError, match="another paper loop"):
        DecisionLog(tmp_path / "log")


def test_a_candle_that_is_late_is_waited_for_and_a_decision_that_is_late_is_not_traded(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    exchange.delay("SYN1", 5, 60_000)  # within the tenth of an hour
    exchange.delay("SYN1", 10, 600_000)  # beyond it
    paper = Paper(bundles["mlp"], tmp_path, exchange)
    paper.run(20)
    bars = paper.bars()
    waits = [record["decided"] - record["time"] - HOUR_MS for record in bars]
    assert 60_000 <= waits[5] < 90_000
    assert not bars[5]["late"]
    assert "skipped" in bars[10]["lanes"][0]
    assert bars[10]["state"][0]["order"] is None
    assert not np.any(bars[11]["lanes"][0]["settled"]["policy"]["delta"])
    assert not any(record["late"] for record in bars)


def test_a_candle_that_never_comes_is_filled_by_the_rules_of_training(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    exchange.drop("SYN2", 7)
    paper = Paper(bundles["mlp"], tmp_path, exchange)
    paper.run(12)
    bars = paper.bars()
    assert "skipped" in bars[7]["lanes"][0]  # nothing is known of it when it would have to be decided
    assert bars[8]["lanes"][0]["multiplier"]  # laid out once the next candle is there
    settled = bars[8]["lanes"][0]["settled"]
    assert settled["mark"] == bars[6]["lanes"][0]["settled"]["close"]
    assert not np.any(settled["policy"]["delta"])


def test_a_revision_is_logged_and_what_was_decided_stays(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    close = exchange.versions["SYN1", exchange.at(3)][0][1].close
    exchange.revise("SYN1", 3, 1_800_000, close=close * 1.0001, high=close * 1.01)
    (tmp_path / "plain").mkdir()
    plain, revised = Paper(bundles["mlp"], tmp_path / "plain"), Paper(bundles["mlp"], tmp_path, exchange)
    plain.run(8), revised.run(8)
    for k in range(4):
        assert plain.bars()[k]["lanes"] == revised.bars()[k]["lanes"]
    assert [record["revised"] for record in revised.bars()] == [0, 0, 0, 0, 1, 0, 0, 0]
    assert plain.bars()[4]["lanes"] != revised.bars()[4]["lanes"]


def test_what_no_market_can_have_made_is_refused_and_waited_for(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    time = exchange.at(4)
    moment, good = exchange.versions["SYN1", time][0]
    exchange.versions["SYN1", time] = [(moment, good._replace(high=good.low / 2)), (moment + 60_000, good)]
    paper = Paper(bundles["mlp"], tmp_path, exchange)
    paper.run(6)
    ((*_, why),) = paper.bars()[4]["refused"]
    assert "high >= max(open, close)" in why
    assert not paper.bars()[4]["late"]
    assert paper.bars()[4]["lanes"][0]["multiplier"]


def test_a_source_that_fails_is_asked_again(bundles, tmp_path):
    exchange = Exchange(bundles["mlp"])
    exchange.down = {3, 4}
    (tmp_path / "plain").mkdir()
    plain, failing = Paper(bundles["mlp"], tmp_path / "plain"), Paper(bundles["mlp"], tmp_path, exchange)
    plain.run(5), failing.run(5)
    assert [record["lanes"] for record in plain.bars()] == [record["lanes"] for record in failing.bars()]
    assert sum(record["failures"] for record in failing.bars()) == 2
    assert "503" in failing.notes[0]


def test_after_hours_without_the_loop_what_was_missed_is_decided_late(bundles, tmp_path):
    paper = Paper(bundles["mlp"], tmp_path)
    paper.run(3)
    paper.sleep(5 * HOUR_MS)
    paper.run(8)
    late = [record["late"] for record in paper.bars()]
    assert late == [False] * 3 + [True] * 4 + [False] * 4


def test_flags_that_do_not_fit_are_one_line(bundles, tmp_path, capsys):
    from export.paper import main

    wrong = {
        ("--begin", "2000-07-20"): "--simulate",
        ("--simulate", "--commission-rate", "-1"): "--commission-rate",
        ("--simulate", "--base-positions", "x.csv", "--log", str(tmp_path / "a")): "--base-positions",
        ("--simulate", "--symbols", "SYN1", "--log", str(tmp_path / "b")): "--symbols",
        ("--log", str(tmp_path / "c")): "--simulate",
    }
    for flags, named in wrong.items():
        assert run_command(main, [str(bundles["mlp"]), *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert named in line
    assert not list(tmp_path.iterdir())


def test_candles_of_another_kind_of_source_are_refused_unless_told(bundles, tmp_path):
    from dataclasses import replace

    from export.paper import refuse_kind

    paper = Paper(bundles["mlp"], tmp_path)
    refuse_kind(paper.model, paper.exchange)  # the kind of the training's candles is not known
    trained = replace(paper.model, manifest=paper.model.manifest | {"source_kind": "aggregated"})
    with pytest.raises(InputError, match=r"--source test: candles of an exchange; .*--any-source"):
        refuse_kind(trained, paper.exchange)
