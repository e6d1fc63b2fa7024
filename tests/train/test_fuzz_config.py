"""Thousands of command lines: taken exactly as written or refused in one line; the good ones build a learner."""

import functools
import random
from collections import Counter
from typing import Any

import jax
import numpy as np
import pytest

from envs.plugins import REWARD_TERMS
from himari_jax.command import parse
from himari_jax.errors import InputError
from train.config.ppo import Config
from train.config.serialize import flatten, from_json, path_flag, to_json
from train.learning.ppo import train_chunk
from train.learning.setup import Setup, first_state
from train.oracles.task import build_setup
from train.training.session import build_session

WORLD = "--source synthetic --synthetic.num-bars 2600 --episode-steps 40 --num-envs 16 --num-minibatches 2".split()
GARBAGE = (
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e9",
    "99999999999999999999",
    "",
    "x",
    "0.5.5",
    "None",
    "🦊",
    "1_0",
)
# Values that make sense where a draw around the default need not.
GOOD: dict[str, tuple[str, ...]] = {
    "policy.policy": ("mlp", "lstm"),
    "policy.hidden_dim": ("1", "8", "64"),
    "policy.num_layers": ("1", "3"),
    "policy.lstm_num_layers": ("1", "3"),
    "policy.initial_log_std": ("-3", "0", "1.5"),
    "policy.initial_multiplier": ("0.1", "1.9"),
    "data.symbols": ("SYN1", "SYN1 SYN2", "A B C"),
    "data.source": ("synthetic",),
    "data.bar": ("1h", "60m"),
    "data.split": ("0.5 0.75", "0.4 0.7", "2023-02-20 2023-03-10"),
    "data.embargo": ("lookback", "0h", "36h", "3d"),
    "data.calendar": ("continuous", "sessions"),
    "data.repair": ("sort",),
    "market.base_sizing": ("constant", "vol-target", "kelly", "constant-on-cap"),
    "market.features": ("base", "base trend"),
    "market.decide_every": ("1h", "6h", "24h"),
    "market.decide_phase": ("0h", "3h"),
    "market.min_trade": ("0", "0.05"),
    "market.fill": ("next-open", "same-close"),
    "market.reward": (
        *tuple(f"log_return {name.replace('_', '-')}=0.1" for name in REWARD_TERMS.names[1:]),
        "log_return volatility=auto",
    ),
    "market.max_position_pct": ("0.1", "1"),
    "market.max_gross": ("0.3", "1"),
    "market.delay": ("1", "5"),
    "market.kelly_half_life_days": ("30", "inf"),
    "ppo.total_steps": ("1", "100000"),
    "ppo.num_episodes": ("1", "1000"),
    "ppo.episode_steps": ("1", "100"),
    "ppo.num_envs": ("8", "32"),
    "ppo.rollout_steps": ("4", "16"),
    "ppo.num_minibatches": ("1", "2", "4"),
    "ppo.lookahead": ("1", "3"),
    "ppo.baseline": ("value", "mean-action"),
    "ppo.algorithm": ("ppo", "pathwise"),
    "ppo.preset": ("common", "fees", "quick"),
    "ppo.learning_rate": ("0.001", "1e-4"),
    "run.devices": ("1", "all"),
    "run.coordinator": ("auto",),
    "run.num_processes": ("1",),
    "run.process_id": ("0",),
    "run.run_dir": ("somewhere", "a folder"),
    "run.ledger": ("team", "team.jsonl", "gs://desk/ledger"),
    "run.save_interval": ("1", "100"),
    "run.eval_interval": ("1", "100"),
    "run.device": ("auto", "cpu"),
    "run.permutations": ("0", "19"),
    "run.permute": ("bars", "blocks"),
    "ccxt.exchange": ("kraken",),
    "coingecko.ids": ("BTC=bitcoin", "BTC=bitcoin ETH=ethereum"),
    "synthetic.num_bars": ("2500", "3000"),
    "synthetic.correlation": ("0", "0.9"),
    "synthetic.tail": ("5", "30"),
}
MARKETS: dict[str, tuple[str, ...]] = {
    "merton": ("--oracle.sigma 0.03", "--oracle.mu 0.0001"),
    "three-assets": ("--oracle.gross 0.5", "--oracle.risk-aversion 3"),
    "hidden-drift": ("--oracle.p 0.05", "--oracle.fee-bps 5"),
    "garleanu-pedersen": ("--oracle.phi 0.9", "--oracle.cost 10"),
    "no-trade-band": ("--oracle.fee-bps 20",),
    "mean-reversion": ("--oracle.phi 0.9",),
    "leak": (),
    "nothing-to-find": (),
}
# Flags that ask for what a tiny world does not have; and those of --env, which follow it.
OWN = {"data.env", "data.data", "run.resume", "run.fresh", "run.debug", "run.bucket_name", "run.model_dir"}
OWN |= {"market.base_positions", "market.base_max_age", "data.since", "data.until"}


def command_line(seed: int) -> tuple[list[str], dict[str, list[str]]]:
    """A tiny world with a few more flags, most of them good; and their values by field, the last one counting."""
    rng = random.Random(seed)
    defaults = flatten(to_json(Config()))
    if rng.random() < 0.1:
        market = rng.choice(sorted(MARKETS))
        words = ["--env", market, "--num-envs", "16", "--rollout-steps", "8"]
        return words + " ".join(rng.sample(MARKETS[market], rng.randint(0, len(MARKETS[market])))).split(), {}
    said: dict[str, list[str]] = {}
    fields = [name for name in defaults if name not in OWN and not name.startswith("oracle.")]
    for name in rng.sample(fields, rng.randint(1, 6)):
        if isinstance(defaults[name], bool):
            said[name] = []
        elif rng.random() < 0.08:
            said[name] = [rng.choice(GARBAGE)]
        else:
            said[name] = rng.choice(GOOD.get(name) or near(defaults[name], rng)).split(" ")
    said = {name: [" ".join(words)] if name == "run.run_dir" else words for name, words in said.items()}
    return WORLD + [word for name, words in said.items() for word in (path_flag(name), *words)], said


def near(value: Any, rng: random.Random) -> tuple[str, ...]:
    """Numbers of the kind and size of a default."""
    if isinstance(value, int):
        return (str(value + 1), str(max(1, value // 2)))
    return (repr(value), repr(round(value * rng.uniform(0.5, 1.0), 6)), "1e-3" if value < 2 else str(value))


def means(words: list[str], value: Any) -> bool:
    """Whether a parsed value equals its words."""
    if not words:
        return value is True
    texts = value if isinstance(value, list) else [value]
    return len(texts) == len(words) and all(same(word, text) for word, text in zip(words, texts, strict=True))


def same(word: str, value: Any) -> bool:
    """One word and one value."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return word == value
    return float(word) == value if isinstance(value, float) else int(word) == value


@functools.cache
def plain_values() -> dict[str, Any]:
    """The flags of the tiny world by field."""
    return flatten(to_json(parse(Config, WORLD, "ppo")))


def check_taken(said: dict[str, list[str]], config: Config, args: list[str]) -> None:
    """Checks that every flag has its given value, every other its default, and that all survive `config.json`."""
    values, start = flatten(to_json(config)), plain_values()
    for name, value in values.items():
        assert means(said[name], value) if name in said else value == start[name], (args, name, value)
    assert from_json(to_json(config)) == config, args


def build(config: Config) -> Setup:
    """Candles or a market, environment, policy and learner of a command line."""
    return build_session(config) if config.data.env is None else build_setup(config)


def trace(setup: Setup) -> None:
    """The state and an update of all seeds, as shapes: what jit would compile."""
    state = jax.eval_shape(first_state(setup))
    chunk = jax.vmap(lambda *args: train_chunk(setup.learner, *args), in_axes=(0, None, None))
    runner, info = jax.eval_shape(chunk, state.runner, setup.params, np.int32(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), runner) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state.runner
    )
    assert info.terms.loss.shape == (setup.config.run.num_seeds,)


def fuzz(seeds: range, every: int) -> Counter:
    """Parses and builds one command line per seed and traces one update in `every`."""
    seen: Counter = Counter()
    for seed in seeds:
        args, said = command_line(seed)
        try:
            config = parse(Config, args, "python -m train.ppo")
            if said:
                check_taken(said, config, args)
            setup = build(config)
            if seed % every == 0 and config.num_envs * config.ppo.rollout_steps < 2**20:
                trace(setup)
                seen["traced"] += 1
            seen["valid"] += 1
        except InputError as refusal:
            text = str(refusal)
            assert "\n" not in text, (args, text)
            assert "--" in text or "symbol" in text, (args, text)
            seen["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {' '.join(args)}") from error
    return seen


def check_share(seen: Counter, lines: int) -> None:
    """At least half of the command lines reached the learner."""
    print(dict(seen))
    assert seen["valid"] + seen["refused"] == lines
    assert seen["valid"] >= lines / 2
    assert seen["traced"]


def test_command_lines_are_taken_as_said_or_refused_in_one_line():
    check_share(fuzz(range(1, 61), every=15), 60)


@pytest.mark.slow
def test_5000_command_lines_are_taken_as_said_or_refused_in_one_line():
    check_share(fuzz(range(10_000, 15_000), every=100), 5000)
