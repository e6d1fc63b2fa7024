"""The rows of `python -m train.prove`: markets with a known optimum, how they are trained, what must be reached."""

from collections.abc import Callable
from typing import Any, NamedTuple

Block = dict[str, Any]


class Goal(NamedTuple):
    """The goal of a row, in words and as a predicate on the medians over the seeds."""

    words: str
    holds: Callable[[Block], bool]


class Row(NamedTuple):
    """A market, how it is trained, and its goal."""

    name: str
    flags: str
    steps: int  # of PPO
    goal: Goal
    pathwise: int | None = None  # steps of the pathwise gradient; None: not run
    quick: int | None = None  # steps of PPO in the short version; None: not in it
    seeds: int | None = None  # where it is not the command's number
    markets: tuple[
        str, ...
    ] = ()  # flags of candles with a planted edge, each trained; the pathwise Sharpe is the measure


def at_least(share: float, words: str = "") -> Goal:
    """Makes the goal of a share of the optimum."""
    return Goal(f">= {share}{words}", lambda block: block["ratio"] >= share)


def three_assets(share: float) -> Goal:
    """Makes the goal of a share of the optimum, and every weight near the best one."""
    return Goal(
        f">= {share}, weights within .05", lambda block: block["ratio"] >= share and block["weight_error"] <= 0.05
    )


ROWS = (
    Row("Merton", "--env merton", 4_000_000, at_least(0.97), 1_000_000, 2_000_000),
    Row("three assets, gross 1", "--env three-assets --hidden-dim 64", 10_000_000, three_assets(0.95), 1_000_000),
    Row(
        "three assets, gross .5",
        "--env three-assets --oracle.gross 0.5 --hidden-dim 64",
        10_000_000,
        three_assets(0.97),
        1_000_000,
    ),
    Row(
        "hidden drift, LSTM",
        "--env hidden-drift --policy lstm --eval-interval 131",
        3_000_000,
        Goal(">= 0.97, and 0.90 within 0.3 M", lambda b: b["ratio"] >= 0.97 and (b["steps_to_90"] or 1e9) <= 300_000),
        1_000_000,
        330_000,
    ),
    Row(
        "hidden drift, MLP",
        "--env hidden-drift",
        4_000_000,
        Goal("0.11 to 0.134 (no better without memory)", lambda b: 0.11 <= b["ratio"] <= 0.134),
        1_000_000,
    ),
    Row(
        "hidden drift, 5 bp fee, LSTM",
        "--env hidden-drift --oracle.fee-bps 5 --policy lstm",
        5_000_000,
        at_least(0.90),
        1_000_000,
    ),
    Row(
        "Garleanu-Pedersen",
        "--env garleanu-pedersen",
        8_000_000,
        Goal(
            ">= 0.97, trading rate within 10 %",
            lambda b: b["ratio"] >= 0.97 and abs(b["trading_rate"] / b["optimal_trading_rate"] - 1) <= 0.1,
        ),
        2_000_000,
        5_000_000,
    ),
    Row(
        "no-trade band",
        "--env no-trade-band --preset fees",
        6_000_000,
        Goal(
            "regret <= 1e-6, turnover <= 1/5 of every bar's",
            lambda b: b["regret"] <= 1e-6 and b["turnover"] <= b["every_bar_turnover"] / 5,
        ),
        2_000_000,
    ),
    Row("mean reversion", "--env mean-reversion", 4_000_000, at_least(0.98), 1_000_000, 2_000_000),
    Row("leak", "--env leak", 2_000_000, at_least(0.97), 500_000, 1_000_000),
    Row(
        "costly candles",
        "--source synthetic --synthetic.predictability 0.1",
        4_000_000,
        at_least(0.8, " of the pathwise gradient's Sharpe on the test span, mean of three markets"),
        4_000_000,
        markets=tuple(f"--synthetic.seed {seed}" for seed in range(3)),
    ),
    Row(
        "nothing to find",
        "--env nothing-to-find",
        500_000,
        Goal(
            "EDGE in <= 5 % of 40 seeds, spread below the start's",
            lambda b: b["edges"] <= 0.05 and b["multiplier_spread"] < b["first_spread"],
        ),
        seeds=40,
    ),
)
