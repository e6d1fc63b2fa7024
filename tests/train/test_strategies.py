"""Rules that cheat get no EDGE or no backtest at all; honest ones are not refused."""

import numpy as np
import polars as pl
import pytest

from himari_jax.errors import InputError
from train.backtesting.entries import Entry, load_entries
from train.config.backtest import EvaluationDataConfig, GridConfig
from train.simulation.rules import load_strategy

HEAD = "import numpy as np\n"
AHEAD = "    rise = np.roll(c, -12, axis=0) > c\n    rise[-12:] = False\n"
CHEATS = {
    # a leak that shows itself at seven in the morning alone
    "daily": "def weights(market, candles):\n    c = candles.close\n    hour = candles.time // 3600000 % 24\n"
    "    later = np.roll(c, -6, axis=0) > c\n    w = np.zeros(c.shape)\n"
    "    for t in np.flatnonzero(hour == 7):\n        w[t:t + 6] = 0.5 * later[t]\n    return w\n",
    # one in the last month alone
    "tail": f"def weights(market, candles):\n    c = candles.close\n{AHEAD}"
    "    late = (candles.time > candles.time[-1] - 30 * 86400000)[:, None]\n"
    "    return np.where(late, 0.5 * rise, 0.25)\n",
    # one that reentrys what it was shown first
    "cache": "memo = {}\ndef weights(market, candles):\n    key = candles.symbols\n    c = candles.close\n"
    f"    if key not in memo:\n{AHEAD.replace('    rise', '        rise')}"
    "        memo[key] = dict(zip(candles.time.tolist(), rise))\n"
    "    return 0.5 * np.stack([memo[key].get(t, np.zeros(c.shape[1])) for t in candles.time.tolist()])\n",
    "peek at the mark": "def weights(market):\n    return 0.5 * (market.to_mark > 0)\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, candles):
    """A folder of 3,000 real-looking candles, a row of which stands there twice, and its flags."""
    made = tmp_path_factory.mktemp("candles")
    market = candles(1, 3000)
    stamp = pl.Series(market.time).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    columns = {name: getattr(market, name)[:, 0] for name in ("open", "high", "low", "close", "volume")}
    frame = pl.DataFrame({"timestamp": stamp, **columns})
    pl.concat([frame[:2950], frame[2949:2950], frame[2950:]]).write_parquet(made / "A.parquet")
    frame.filter(~pl.arange(0, 3000).is_in([2700, 2701, 2850, 2851, 2852])).write_parquet(made / "GAPS.parquet")
    return made


def entered(folder, tmp_path, code, symbol="A") -> Entry:
    """The rule on its data, after its audits."""
    first = "from __future__ import annotations\n"  # which has to stand there
    text = first + HEAD + code.removeprefix(first) if code.startswith(first) else HEAD + code
    (tmp_path / "rule.py").write_text(text)
    (entry,) = load_entries(
        [str(tmp_path / "rule.py")],
        EvaluationDataConfig(data=(str(folder),), symbols=(symbol,)),
        GridConfig(delays=(0, 1)),
    )
    return entry


@pytest.mark.parametrize("name", CHEATS)
def test_a_rule_that_knows_later_candles_is_refused(folder, tmp_path, name):
    with pytest.raises(InputError, match="the audit of causality failed: it knows later candles"):
        entered(folder, tmp_path, CHEATS[name])


def test_a_rule_that_reads_its_weights_from_somewhere_can_have_no_edge(folder, tmp_path):
    np.save(tmp_path / "kept.npy", np.random.default_rng(0).uniform(0, 0.5, 3000))
    code = (
        f"kept = np.load({str(tmp_path / 'kept.npy')!r})\n"
        f"def weights(market, candles):\n    at = (candles.time - {1_577_836_800_000}) // 3600000\n"
        "    return np.where((at >= 0) & (at < 3000), kept[np.clip(at, 0, 2999)], 0.2)[:, None]\n"
    )
    entry = entered(folder, tmp_path, code)
    assert any("do not follow the candles at all" in doubt for doubt in entry.doubts)
    steady = entered(folder, tmp_path, "def weights(market):\n    return np.full(market.base.shape, 0.3)\n")
    assert steady.doubts == ()  # a constant has nothing to know


def test_a_failed_audit_is_a_doubt(folder, tmp_path):
    from dataclasses import replace

    from train.evaluation.result import AuditResult

    entry = entered(folder, tmp_path, "def weights(market):\n    return 0.4 * (market.features[..., 3] > 0)\n")
    assert entry.doubts == ()
    failed = replace(entry, audits=(AuditResult("null market", False, ""),))
    assert failed.doubts == ("the audit of the null market failed",)


def test_a_rule_cannot_write_to_the_candles_that_judge_it(folder, tmp_path):
    with pytest.raises(InputError, match="read-only"):
        entered(
            folder,
            tmp_path,
            "def weights(market, candles):\n    candles.close.sort(axis=0)\n    return 0 * market.base\n",
        )
    with pytest.raises(InputError, match="read-only"):
        entered(folder, tmp_path, "def weights(market):\n    market.to_mark[:] = 0.1\n    return 0 * market.base\n")


HONEST = {
    "rounding of a Fourier transform": "from scipy.signal import fftconvolve\ndef weights(market, candles):\n"
    "    m = fftconvolve(np.log(candles.close[:, 0]), np.ones(24) / 24)[: len(candles.time)]\n"
    "    return np.clip(np.log(candles.close) - m[:, None], 0, 0.5)\n",
    "a long warm-up": "def weights(market, candles):\n    c = candles.close\n    w = np.full(c.shape, np.nan)\n"
    "    m = np.cumsum(c, 0)\n    w[1000:] = 0.4 * (c[1000:] > (m[1000:] - m[:-1000]) / 1000)\n    return w\n",
    "a dataclass": "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n"
    "    size: float = 0.3\ndef weights(market):\n    return P().size * (market.features[..., 3] > 0)\n",
    "a default of its own": "def weights(market, scale=0.4, *, more=0.0):\n"
    "    return scale * (market.features[..., 3] > 0) + more\n",
    "the clock": "def weights(market, candles):\n"
    "    return np.where(candles.time % 86400000 < 43200000, 0.4, 0.1)[:, None] * (market.features[..., 1] > 0)\n",
    "warnings of its own": "import warnings\ndef weights(market):\n    warnings.warn('x')\n    np.log(np.zeros(3))\n"
    "    return 0.3 * (market.features[..., 1] > 0)\n",
}


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("symbol", ["A", "GAPS"])
def test_an_honest_rule_is_not_refused(folder, tmp_path, name, symbol, capfd):
    entry = entered(folder, tmp_path, HONEST[name], symbol)
    assert entry.audits[0].passed is True
    assert entry.audits[1].passed is not False
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys\nsys.exit(0)\n", "cannot be run: SystemExit"),
        ("def weights(market):\n    raise SystemExit(0)\n", "weights() failed: SystemExit"),
        ("def weights(market):\n    raise KeyboardInterrupt\n", "weights() failed: KeyboardInterrupt"),
        ("weights = dict\n", "needs a function weights(market)"),
        ("weights = 3\n", "needs a function weights(market)"),
        ("def weights(*, market):\n    return 0 * market.base\n", "needs a function weights(market)"),
        ("def weights(market):\n    return 1j * market.base\n", "complex weights"),
        ("def weights(market):\n    return market.close\n", "market has no close; it has to_fill, to_mark, features"),
        ("def weights(market, candles):\n    return candles.base\n", "candles has no base; it has symbols, bar_ms"),
    ],
)
def test_a_rule_that_is_none_is_one_line(folder, tmp_path, code, says):
    with pytest.raises(InputError) as caught:
        entered(folder, tmp_path, code)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_is_run_anew_for_every_call(tmp_path, candles):
    from train.config.market import MarketConfig
    from train.data.market import market_from

    code = "calls = []\ndef weights(market):\n    calls.append(1)\n    return 0 * market.base + 0.1 * len(calls)\n"
    (tmp_path / "rule.py").write_text(HEAD + code)
    strategy, market = load_strategy(tmp_path / "rule.py"), candles(1, 500)
    for _ in range(3):
        assert strategy.weights(market, market_from(market, MarketConfig())).max() == pytest.approx(0.1)
