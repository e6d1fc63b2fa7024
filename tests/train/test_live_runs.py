"""Runs on live sources: from a fake exchange on a port of this machine to the kind of source in the run's files."""

import json

import numpy as np
import pytest
from fakes import START, SYMBOL, market_rows
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.errors import InputError
from himari_jax.live.clock import SimulatedClock
from himari_jax.live.fake import FakeExchange
from himari_jax.live.fake_server import serve_fake
from himari_jax.times import HOUR_MS, iso_second
from train.config.backtest import CandlesConfig
from train.config.market import DataConfig
from train.config.ppo import Config
from train.config.serialize import config_hash, from_json, to_json
from train.download import main as download
from train.ppo import main as train

pytest.importorskip("ccxt")
pytest.importorskip("uvicorn")
BARS = 3000
END = iso_second(START + BARS * HOUR_MS)
TINY = TINY_RUN[TINY_RUN.index("--num-envs") :]


@pytest.fixture(scope="module")
def fake():
    """A fake exchange with a market of 3000 hours, served on a port; and its address."""
    clock = SimulatedClock(START + BARS * HOUR_MS + 3_000_000)
    exchange = FakeExchange({SYMBOL: market_rows(BARS)}, HOUR_MS, clock)
    with serve_fake(exchange) as url:
        yield exchange, url


@pytest.fixture
def at_fake(fake, monkeypatch, tmp_path):
    """The environment of a command that asks the fake."""
    monkeypatch.setenv("HIMARI_SOURCES_URL", fake[1])
    monkeypatch.setenv("HIMARI_CANDLES", str(tmp_path / "cache"))
    return fake[0]


def test_a_download_says_what_it_did_and_what_comes_next(at_fake, tmp_path, capsys):
    words = ["--symbols", SYMBOL, "--since", "2024-01-01", "--until", END, "--to", str(tmp_path / "candles")]
    assert run_command(download, words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("3,000 candles of 1h that open from 2024-01-01T00:00Z to" in line for line in lines)
    assert "  binance BTC/USDT, kind exchange, fetched" in "\n".join(lines)
    assert lines[-1].endswith(f"train.ppo --data {tmp_path / 'candles'}")
    assert run_command(download, ["--exchange", "kraken", *words]) == 2
    assert "holds candles of source binance, not kraken; name another folder" in capsys.readouterr().err
    assert run_command(download, ["--exchange", "kraken", *words[:-1], str(tmp_path / "other")]) == 2
    assert "--since 2024-01-01T00:00Z: kraken has the newest 720 candles alone" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "symbol", "kind"), [("ccxt", SYMBOL, "exchange"), ("coingecko", "BTC", "aggregated")]
)
def test_a_run_trains_on_a_live_source_and_remembers_its_kind(at_fake, monkeypatch, tmp_path, source, symbol, kind):
    monkeypatch.setenv("COINGECKO_PRO_API_KEY", "key")
    at_fake.script = ["500", "truncated", "429"]
    monkeypatch.setattr("himari_jax.live.fake.RETRY_AFTER", 1)
    where = ["--source", source, "--symbols", symbol, "--since", "2024-01-01", "--until", END]
    pins = ["--coingecko.ids", "BTC=bitcoin"] if source == "coingecko" else []
    words = [*where, *pins, *TINY, "--run-dir", str(tmp_path / "run")]
    assert run_command(train, words) == 0
    data = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert (data["source"], data["source_kind"], report["source_kind"]) == (source, kind, kind)
    assert report["rows"] in (BARS - 1, BARS)
    asked = len(at_fake.asked)
    assert run_command(train, [*words, "--total-steps", "4096"]) == 0  # goes on from the cache
    assert len(at_fake.asked) <= asked + 2 * (source == "coingecko")


def test_a_run_keeps_the_end_of_its_candles_and_other_runs_their_hash(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    data = DataConfig(source="ccxt", symbols=(SYMBOL,))
    assert data.until == "2023-11-14T00:00:00Z"
    config = Config(data=data)
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.5)
    assert from_json(to_json(config)).data.until == data.until
    assert config_hash(Config(data=DataConfig(source="ccxt", symbols=(SYMBOL,)))) == config_hash(config)
    assert DataConfig().until is None
    plain = to_json(Config())
    old = {name: value for name, value in plain["data"].items() if name not in ("since", "until")}
    assert config_hash(from_json(plain | {"data": old})) == config_hash(from_json(plain))


def test_times_belong_to_live_sources_and_other_candles_drop_them():
    with pytest.raises(InputError, match="--since 2020-01-01: must be given beside --source ccxt or coingecko"):
        DataConfig(since="2020-01-01")
    with pytest.raises(InputError, match="--since 2021-01-01: must be a time before --until 2020-01-01"):
        DataConfig(source="ccxt", symbols=("A/B",), since="2021-01-01", until="2020-01-01")
    own = DataConfig(source="ccxt", symbols=("A/B",), since="2020-01-01")
    assert CandlesConfig().over(own) == own
    other = CandlesConfig(data=("x",)).over(own)
    assert (other.since, other.until, other.source) == (None, None, "files")


def test_candles_of_two_kinds_of_sources_are_refused_together(tmp_path):
    from dataclasses import replace

    from himari_jax.checking.candles import check_candles, check_each
    from himari_jax.live.store import Stored, to_raw
    from train.data.members import join_candles

    rows = market_rows(100)
    raws = [to_raw(s, s, Stored(rows, {"source_kind": k})) for s, k in (("A", "exchange"), ("B", "aggregated"))]
    with pytest.raises(
        InputError, match="A has candles of an exchange, B prices aggregated over exchanges: their volumes"
    ):
        check_candles(raws)
    with pytest.raises(InputError, match="their volumes mean different things"):
        join_candles([candles for candles, _ in check_each(raws)])
    candles, _ = check_candles([raws[0], replace(raws[1], kind="")])
    assert candles.kind == "exchange"
    np.testing.assert_array_equal(candles.close[:, 0], rows[:, 4])
