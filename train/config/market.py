"""Flags of the candles, of markets with a known optimum, of the account."""

import time
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

import tyro

from envs.plugins import MARKETS, REWARD_TERMS
from himari_jax.command import auto, choice, flag, parse_number, require
from himari_jax.errors import InputError
from himari_jax.plugins import BASE_SIZINGS, FEATURE_FILE, FEATURE_SETS, SOURCES
from himari_jax.ranges import check_ranges
from himari_jax.spelling import meant, once_each
from himari_jax.times import DAY_MS, decision_interval, iso_second, parse_bar, parse_duration, parse_moment
from train.config.cuts import read_cuts


@dataclass(frozen=True)
class DataConfig:
    """Candles, and the cuts between training, validation and test."""

    env: Annotated[
        str | None, choice("A market with a known optimum instead of candles.", MARKETS.summaries, "candles")
    ] = None
    symbols: Annotated[tuple[str, ...], auto("BTC-USD; SYN1 for synthetic; the only file of --data")] = ()
    """Symbols, in the order of the observation."""
    source: Annotated[
        str | None, choice("Where candles come from.", SOURCES.summaries, "files with --data, else sample")
    ] = None
    data: tuple[str, ...] = ()
    """A folder or files of candles: CSV, Parquet, Feather, JSON, packed or not; the name of a file is its symbol."""
    bar: Annotated[str | None, auto("as the data show; 1h for synthetic, ccxt and coingecko")] = None
    """Length of a bar: 15m, 1h, 1d."""
    since: Annotated[str | None, auto("2020, or what the source still has")] = None
    """Begin of the candles, with ccxt and coingecko, such as 2020-01-01 (UTC)."""
    until: Annotated[str | None, auto("the last midnight, UTC")] = None
    """End of the candles, with ccxt and coingecko; a run that goes on keeps its own."""
    split: Annotated[tuple[float | str, ...], tyro.conf.arg(metavar="CUT CUT")] = (0.6, 0.8)
    """Cuts at which validation and test begin: shares of the rows, or dates such as 2017-01-01 2018-01-01 (UTC)."""
    embargo: Annotated[str | None, auto("the decision interval, the delay and a bar, at least a day")] = None
    """Time after each cut without a decision, such as 10d; look-backs may lie before it. lookback: as much as the
    features look back, inside the span."""
    pool: bool = False
    """One policy of one asset, trained on all symbols, each with its own dates."""
    skip_short: bool = False
    """Leave symbols of the pool out whose candles hold no decision, instead of refusing them."""
    calendar: Literal["continuous", "sessions"] = "continuous"
    """continuous never closes; sessions has nights, weekends and holidays."""
    assume_utc: bool = False
    """Take times without a zone for UTC."""
    no_volume: bool = False
    """Take candles without a volume: it counts as 0 in every bar."""
    repair: tuple[Literal["sort"], ...] = ()
    """Faults to mend instead of refusing: sort (rows not in time order)."""

    def __post_init__(self):
        if self.env is not None:
            MARKETS.settle(self, "env")
        if self.source is not None:
            SOURCES.settle(self, "source")
        read_cuts(self.split)
        if self.embargo not in (None, "lookback"):
            parse_duration(self.embargo, "--embargo")
        require(self.pool or not self.skip_short, "--skip-short", "given", "given beside --pool")
        require(not (self.pool and self.env), "--pool", f"with --env {self.env}", "given beside candles alone")
        require(
            len(set(self.symbols)) == len(self.symbols),
            "--symbols",
            " ".join(self.symbols),
            "names of symbols, each once",
        )
        if self.bar is not None:
            parse_bar(self.bar)
        self.check_times()

    def check_times(self) -> None:
        """Checks --since and --until; a live source without --until ends at the last midnight.

        Raises:
            InputError: they are no times in order, or the source is not live.
        """
        live = SOURCES.defines(self.chosen_source, "LIVE")
        given = {"--since": self.since, "--until": self.until}
        for name, text in given.items():
            require(text is None or live, name, text, "given beside --source ccxt or coingecko")
        if live and self.until is None:  # here, so that config.json has it and a resumed run has the same candles
            object.__setattr__(self, "until", iso_second(int(time.time() * 1000) // DAY_MS * DAY_MS))
        begin, end = self.since_ms, self.until_ms
        if begin is not None and end is not None:
            require(begin < end, "--since", self.since, f"a time before --until {self.until}")

    @property
    def since_ms(self) -> int | None:
        """Begin of the candles of a live source, epoch milliseconds; None where the source decides."""
        return None if self.since is None else parse_moment(self.since, "--since")

    @property
    def until_ms(self) -> int | None:
        """End of the candles of a live source, epoch milliseconds; None of other sources."""
        return None if self.until is None else parse_moment(self.until, "--until")

    @property
    def cuts(self) -> tuple[float, float]:
        """Cuts at which validation and test begin: shares below 1, or epoch milliseconds."""
        return read_cuts(self.split)

    @property
    def bar_ms(self) -> int | None:
        """Milliseconds of a bar; None where the data decide."""
        return None if self.bar is None else parse_bar(self.bar)

    @property
    def chosen_source(self) -> str:
        """Name of the source, its default applied."""
        return self.source or ("files" if self.data else "sample")


@dataclass(frozen=True)
class OracleOptions:
    """Parameters of the market of --env, per bar; each market has some of them."""

    sigma: Annotated[tuple[float, ...] | None, auto("of the market")] = None
    """Deviation of the return; three for three-assets."""
    mu: Annotated[tuple[float, ...] | None, auto("of the market")] = None
    """Mean of the return (merton, no-trade-band, three-assets: three), size of the hidden drift."""
    corr: Annotated[tuple[float, ...] | None, auto("0.8 0.7 0.75")] = None
    """three-assets: correlations of the pairs 1-2, 1-3, 2-3."""
    gross: Annotated[float | None, auto("1")] = None
    """three-assets: largest sum of weights."""
    risk_aversion: Annotated[float | None, auto("of the market")] = None
    """three-assets, hidden-drift, garleanu-pedersen."""
    p: Annotated[float | None, auto("0.02")] = None
    """hidden-drift: probability that the drift changes its sign before a return."""
    fee_bps: Annotated[float | None, auto("0; 10 for no-trade-band")] = None
    """hidden-drift, no-trade-band: fee, basis points of what is traded."""
    phi: Annotated[float | None, auto("0.95; 0.98 for mean-reversion")] = None
    """garleanu-pedersen, mean-reversion: share of the signal that is left after a bar."""
    signal: Annotated[float | None, auto("0.001")] = None
    """garleanu-pedersen: deviation of the predictable part of the return."""
    cost: Annotated[float | None, auto("50")] = None
    """garleanu-pedersen: weight of the quadratic cost of trading."""

    def given(self) -> dict[str, Any]:
        """Returns the options that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class MarketConfig:
    """Trading costs, position limits and the reward."""

    commission_rate: float = 0.001
    """Commission, share of the traded value: 0.001 is 0.1 %."""
    slippage_bps: float = 0.0
    """Slippage, basis points of the traded value."""
    max_position_pct: float = 0.5
    """Largest weight of one asset, share of equity: 0.5 is 50 %."""
    max_gross: float = 1.0
    """Largest sum of weights, share of equity."""
    min_trade: float = 0.0
    """Smallest change of weight that is traded: a band around what is held; it binds base and baselines, too."""
    decide_every: Annotated[str | None, auto("every bar")] = None
    """Time from decision to decision, such as 24h: a whole number of bars. Positions drift in between."""
    decide_phase: str = "0h"
    """Decisions are at closes that are a multiple of --decide-every plus this, UTC."""
    draw_phase: bool = False
    """Training episodes begin at any bar; the phase of --decide-every holds where policies are evaluated."""
    ruin: float = 0.5
    """An episode ends when equity falls below this share of its start."""
    base_sizing: Annotated[
        str, choice("The position that the policy multiplies by 0 to 2.", BASE_SIZINGS.summaries)
    ] = "constant"
    base_positions: Annotated[str | None, auto("by --base-sizing")] = None
    """Parquet or CSV of your own base positions instead: a timestamp, and a column per symbol with a share of equity. A
    row is known at its time, a bar's close, and holds until the next one."""
    base_max_age: str = "7d"
    """Longest time that a row of --base-positions holds: 12h, 3d."""
    kelly_fraction: float = 0.25
    """Share of the full Kelly position."""
    kelly_prior_bars: float = 720.0
    """Hours of evidence that Kelly's prior (mean 0) is worth, at every length of a bar."""
    kelly_half_life_days: float = 180.0
    """Half-life of Kelly's evidence, days; inf never forgets."""
    reward: Annotated[tuple[str, ...], choice("Reward terms, NAME or NAME=WEIGHT.", REWARD_TERMS.summaries)] = (
        "log_return",
    )
    features: Annotated[
        tuple[str, ...],
        choice(
            "Features of the market: sets by name, FILE.py with features(candles), or several of them.",
            FEATURE_SETS.summaries,
        ),
    ] = ("base",)
    fill: Literal["next-open", "same-close"] = "next-open"
    """Price of the trade after a decision at the close."""
    delay: int = 0
    """Bars by which the policy's view of the market is late."""
    initial_capital: float = 100_000.0
    """Money at the start, for the amounts that are shown; nothing else depends on it."""

    def __post_init__(self):
        check_ranges(vars(self), flag)
        BASE_SIZINGS.settle(self, "base_sizing")
        parse_bar(self.base_max_age, "--base-max-age")
        if self.base_positions is not None:
            require(self.base_positions != "", "--base-positions", "''", "the name of a file")
            if self.base_sizing != "constant":
                raise two_bases(self.base_sizing, self.base_positions)
        elif self.base_max_age != "7d":
            raise InputError(f"--base-max-age {self.base_max_age}: belongs to --base-positions, which is not given")
        if self.decide_every is not None:
            parse_bar(self.decide_every, "--decide-every")
        parse_duration(self.decide_phase, "--decide-phase")
        alone = self.decide_every is not None or (self.decide_phase == "0h" and not self.draw_phase)
        require(alone, "--decide-phase, --draw-phase", "given", "given beside --decide-every")
        require(bool(self.reward_terms), "--reward", "", "at least one term")
        self.check_features()

    def check_features(self) -> None:
        """Raises InputError where a feature set is not known, or two of them have one name."""
        require(bool(self.features), "--features", "", f"{', '.join(FEATURE_SETS.names)}, or FILE.py")
        for text in self.features:
            name = PurePath(text).name
            if text.endswith(".py"):
                allowed = "a name of letters, digits, _, + and -, and .py"
                require(FEATURE_FILE.fullmatch(name) is not None, "--features", text, allowed)
            else:
                known = FEATURE_SETS.names
                require(text in known, "--features", text, f"{', '.join(known)}, or FILE.py{meant(text, known)}")
            once = [PurePath(other).name for other in self.features].count(name) == 1
            require(once, "--features", text, "named once each: sets, and names of files")

    @property
    def sizing(self) -> str:
        """Name of the base sizing; `file` where the base positions are the user's own."""
        return self.base_sizing if self.base_positions is None else "file"

    @property
    def base_max_age_ms(self) -> int:
        """Age beyond which a base position of a file is too old, milliseconds."""
        return parse_bar(self.base_max_age, "--base-max-age")

    @property
    def cost(self) -> float:
        """Share of the traded value that a trade costs."""
        return self.commission_rate + self.slippage_bps / 1e4

    def doubts(self) -> list[str]:
        """Returns a line for each value that looks like percent where a share or basis points are asked for."""
        rate, slippage = self.commission_rate, self.slippage_bps
        lines = {
            f"--commission-rate {rate:g} is {100 * rate:g} % of what is traded; 0.1 % is 0.001": rate > 0.01,
            f"--slippage-bps {slippage:g} is {slippage / 100:g} % of what is traded": slippage >= 1000,
        }
        return [line for line, doubtful in lines.items() if doubtful]

    def step(self, bar_ms: int) -> int:
        """Returns D, the bars from decision to decision.

        Raises:
            InputError: the interval is no whole number of bars, or the phase is none.
        """
        return decision_interval(self.decide_every, self.decide_phase, bar_ms)[0]

    @property
    def phase_ms(self) -> int:
        """The phase of the decisions, milliseconds."""
        return parse_duration(self.decide_phase, "--decide-phase")

    @property
    def reward_terms(self) -> dict[str, float | None]:
        """Weights of the reward terms by name; None where the training rows decide (volatility=auto)."""
        terms: dict[str, float | None] = {}
        for text in self.reward:
            name, _, weight = text.partition("=")
            name = name.replace("-", "_")
            once = name in REWARD_TERMS.names and name not in terms
            require(once, "--reward", text, once_each([name], REWARD_TERMS.names))
            if name == "volatility" and weight == "auto":
                terms[name] = None
                continue
            terms[name] = parse_number("--reward", text, weight if "=" in text else "1")
        return terms


def two_bases(sizing: str, path: str) -> InputError:
    """Makes the error for a base sizing beside own base positions."""
    return InputError(f"--base-sizing {sizing} and --base-positions {path}: there is one base; give one of them")
