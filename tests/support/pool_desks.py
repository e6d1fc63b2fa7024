"""Pooled runs with their bundles, the accounts that their symbols had in the test span, and what a desk would ask."""

import polars as pl
from accounts import keep_ledger
from own import GOOD
from serving import Desk
from worlds import TINY_RUN

from himari_jax.candles import COLUMNS
from himari_jax.command import run_command
from himari_jax.positions.sizing import cap_targets

POOL = ("SYN1", "SYN2", "SYN3")
WORLD = [*("6000" if x == "3000" else x for x in TINY_RUN), "--pool", "--symbols", *POOL]
DAILY = ["--decide-every", "24h", "--decide-phase", "7h"]
# A feature that asks for its symbol, as no other candles of a pool can answer for it.
OWN = GOOD.replace("np.log(candles.high", "int(candles.symbols[0][-1]) * np.log(candles.high")


def make_pool(folder, *flags):
    """Trains a pooled run and exports it: `run` and `bundle` of a folder."""
    from export.bundle import main as export
    from train.ppo import main as train

    assert run_command(train, [*WORLD, *flags, "--run-dir", str(folder / "run")]) == 0
    assert run_command(export, [str(folder / "run"), "--out", str(folder / "bundle")]) == 0


class PoolDesk(Desk):
    """A desk that trades one symbol of a pooled run's test span as its backtest did."""

    def __init__(self, folder, symbol, **settings):
        from train.data.loading import checked_parts, load_raw
        from train.training.resume import parse_flags

        super().__init__(folder / "bundle", allow_code=True, **settings)
        config = parse_flags(WORLD, None)
        parts, _ = checked_parts(load_raw(config.data, config.source_options), config.data)
        self.symbol, self.tape = symbol, parts[POOL.index(symbol)]
        frame = pl.read_parquet(folder / "run" / "equity.parquet")[:: self.model.step]
        self.rows = (frame["time"].dt.epoch("ms").to_numpy() - self.tape.time[0]) // self.tape.bar_ms - 1
        self.multipliers, self.base = (frame[f"{name}_{symbol}"].to_numpy() for name in ("multiplier", "base"))
        self.pages = self.play(config.market)

    def play(self, market):
        """Keeps the account in units and cash along the decisions of the backtest."""
        wanted = cap_targets(self.multipliers[:, None], self.base[:, None], market.max_position_pct, market.max_gross)
        may = self.tape.tradable[self.rows + 1]
        fill, mark = self.tape.open[self.rows + 1], self.tape.close[self.rows + self.model.step]
        return keep_ledger(fill, mark, wanted, may, market.cost, capital=1e5)

    def account_at(self, k):
        """The account at a decision."""
        if k == 0:
            return {"equity": 1e5, "positions": {}}
        close = float(self.tape.close[self.rows[k], 0])
        equity, weight, ratio = (float(self.pages[name][k - 1].sum()) for name in ("equity", "weights", "entry_ratio"))
        holding = {"units": weight * equity / close, "entry_price": close / ratio}
        return {"equity": equity, "positions": {self.symbol: holding} if weight else {}}

    def tick(self, k, candles=None, **more):
        """The instance of a decision, with the clock set to it, as few candles as allowed, and the base of training."""
        self.now = int(self.tape.time[self.rows[k]]) + self.tape.bar_ms + 1000
        rows = slice(self.rows[k] + 1 - (candles or self.model.min_candles), self.rows[k] + 1)
        columns = {"time": self.tape.time[rows].tolist()}
        columns |= {name: getattr(self.tape, name)[rows, 0].tolist() for name in COLUMNS}
        account = self.account_at(k)
        base = {self.symbol: float(self.base[k]) * account["equity"]}
        return {"candles": {self.symbol: columns}, "account": account, "base_position": base, **more}
