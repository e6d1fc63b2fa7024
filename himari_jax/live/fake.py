"""A fake exchange for tests and demos: given candles in the formats of Binance, Kraken, CoinGecko; scripted faults.

`answer` is the whole of it: an address in, an answer out. `himari_jax.live.fake_server` serves it over HTTP or puts it
below ccxt and httpx in this process.
"""

import json
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np

from himari_jax.live import fake_shapes as shapes
from himari_jax.live.clock import Clock

Trouble = Literal["", "429", "500", "truncated", "timeout"]  # of a request for candles; empty: none
RETRY_AFTER = 7  # seconds that a 429 asks to wait


class Change(NamedTuple):
    """A past candle with other values from a moment on; without values it is missing until then."""

    symbol: str
    time: int  # open, epoch milliseconds
    at_ms: int  # epoch milliseconds
    values: tuple[float, ...] | None = None  # open, high, low, close, volume


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    hangs: bool = False  # nothing is answered


class FakeExchange:
    """An exchange that has given candles and a simulated now.

    Args:
        candles: (T, 6) float64 by symbol such as BTC/USDT: open time in epoch milliseconds, open, high, low, close,
            volume; bars that are left out are gaps.
        bar_ms: length of a bar; longer ones are made of it.
        clock: simulated, of the exchange.
        script: troubles of the requests for candles, in their order; none when they are used up.
        changes: of past candles.
        skew_ms: by how much the exchange's clock is ahead of `clock`.
        volume_factor: by what the volumes are wrong; those in the quote currency are right.
    """

    def __init__(
        self,
        candles: Mapping[str, np.ndarray],
        bar_ms: int,
        clock: Clock,
        script: Sequence[Trouble] = (),
        changes: Sequence[Change] = (),
        skew_ms: int = 0,
        volume_factor: float = 1.0,
    ):
        self.candles, self.bar_ms, self.clock = dict(candles), bar_ms, clock
        self.script, self.changes = list(script), list(changes)
        self.skew_ms, self.volume_factor = skew_ms, volume_factor
        self.asked: list[str] = []  # addresses of the requests for candles

    @property
    def now_ms(self) -> int:
        """The exchange's own time, epoch milliseconds."""
        return self.clock.now_ms() + self.skew_ms

    def answer(self, url: str) -> Reply:
        """The answer to a GET request; the host may stand in the path, as HIMARI_SOURCES_URL puts it there."""
        parts = urlsplit(url)
        path = [part for part in parts.path.split("/") if part]
        if path and "." in path[0]:
            path = path[1:]
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if path[-1:] in (["exchangeInfo"], ["AssetPairs"], ["Assets"], ["list"]):
            return self._reply(200, shapes.listing(path[-1], list(self.candles)))
        self.asked.append(url)
        trouble = self.script.pop(0) if self.script else ""
        if trouble in ("429", "500"):
            body = {"status": {"error_code": int(trouble), "error_message": "scripted"}}
            return self._reply(int(trouble), body, {"Retry-After": str(RETRY_AFTER)} if trouble == "429" else {})
        reply = self._candles(path, query)
        if trouble == "truncated":
            return reply._replace(body=reply.body[: len(reply.body) // 2])
        return reply._replace(hangs=trouble == "timeout")

    def _candles(self, path: list[str], query: dict[str, str]) -> Reply:
        """An answer with candles, or with the reason why there is none."""
        try:
            kind, symbol, bar_ms = shapes.asked_for(path, query, list(self.candles))
        except LookupError as error:
            status, body = error.args
            return self._reply(status, body)
        rows = self.rows(symbol, bar_ms or self.bar_ms)
        return self._reply(
            200, shapes.FORMATS[kind](rows, query, self.now_ms, bar_ms or self.bar_ms, self.volume_factor)
        )

    def rows(self, symbol: str, bar_ms: int) -> np.ndarray:
        """The candles of a symbol as the exchange has them now, (K, 6), the running one last, as it stands so far."""
        now = self.now_ms
        rows = self.candles[symbol].copy()
        for change in self.changes:
            at = rows[:, 0] == change.time
            if change.symbol == symbol and change.values is not None and change.at_ms <= now:
                rows[at, 1:] = change.values
            elif change.symbol == symbol and change.values is None and change.at_ms > now:
                rows = rows[~at]
        rows = rows[rows[:, 0] <= now]
        if len(rows) and rows[-1, 0] + self.bar_ms > now:
            share = (now - rows[-1, 0]) / self.bar_ms
            open_, close = rows[-1, 1], rows[-1, 1] + share * (rows[-1, 4] - rows[-1, 1])
            rows[-1, 2:] = max(open_, close), min(open_, close), close, share * rows[-1, 5]
        return rows if bar_ms == self.bar_ms else shapes.longer(rows, bar_ms)

    def _reply(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        own = {"Content-Type": "application/json", "Date": formatdate(self.now_ms / 1000, usegmt=True)}
        return Reply(status, own | dict(headers or {}), json.dumps(body).encode())
