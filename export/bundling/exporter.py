"""From a run to a bundle: graph, golden numbers of Flax and environment, manifest; verified by another process."""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.market import stack_decisions, to_device
from envs.trading import TradingEnv, make_params
from export.bundling.card import card
from export.bundling.config import BundleConfig
from export.bundling.drift import drift_of
from export.bundling.test_span import figures_of
from export.contents.files import read_contents
from export.loading import open_model
from export.runtime import FILES, SCHEMA
from himari_jax.atomic import replacing
from himari_jax.candles import COLUMNS, Candles
from himari_jax.errors import InputError, last_line
from himari_jax.features.market import ACCOUNT_FEATURES, observation_names
from himari_jax.features.observation import assemble, features_hash
from himari_jax.onnx.graph import policy_graph
from himari_jax.pasting import command_line
from himari_jax.policies.policy import act, mean_action
from himari_jax.positions.sizing import CONSTANT, sizing_lookback
from himari_jax.splits import decision_rows
from himari_jax.times import DAY_MS, bar_name, iso_second
from train.artifacts.files import storage_errors
from train.artifacts.provenance import tools
from train.artifacts.run_folder import read_result
from train.config.backtest import EvaluationDataConfig
from train.data.evaluation_data import EvaluationData, known_data, load_evaluation_data
from train.data.market import market_from, sizing_rules
from train.data.members import Member
from train.simulation.trained import Agent, base_of, cuts_of, load_agent

GOLDEN_STEPS = 256  # decisions of the golden rollout, where there are as many
FEWEST_GOLDEN = 16
PROBES = 2048  # further observations that graph and Flax must agree on; not shipped


def write_bundle(config: BundleConfig) -> int:
    """Exports, verifies in another process, and only then names the folder; 0 when done."""
    if config.out.exists():
        raise InputError(f"--out {config.out}: exists already; choose another folder")
    agent = load_agent(config.run, config.checkpoint)
    index = agent.chosen if config.seed_index is None else config.seed_index
    if index >= len(agent.seeds):
        raise InputError(f"--seed-index {index}: {config.run} has {len(agent.seeds)} seeds, from 0")
    ground = load_evaluation_data(
        EvaluationDataConfig(data=config.data),
        agent.config.data,
        agent.config.market,
        agent.config.source_options,
        cuts_of(agent),
        agent.features,
    )
    ground = known_ground(agent, ground)
    variables = jax.tree.map(lambda x: jnp.asarray(x[index]), agent.variables)
    graph = export_graph(agent, variables)
    golden: dict[str, Any] = make_golden(agent, variables, ground) | {"policy_sha256": np.str_(digest(graph))}
    with tempfile.TemporaryDirectory(prefix="himari-") as scratch:
        probe = Path(scratch) / "probe.npz"
        probed: dict[str, Any] = make_probe(agent, variables, ground)
        np.savez(probe, **probed)
        with storage_errors(f"--out {config.out}"), replacing(config.out) as part:
            part.mkdir(parents=True)
            (part / "policy.onnx").write_bytes(graph)
            np.savez_compressed(part / "golden.npz", **golden)
            for name, code in agent.features.files.items():
                (part / name).write_bytes(code)
            files = {name: digest((part / name).read_bytes()) for name in (*FILES, *agent.features.files)}
            manifest = json.dumps(make_manifest(agent, index, config, ground, files), indent=2)
            (part / "manifest.json").write_text(manifest + "\n")
            verify(part, probe)
            write_card(part, golden["observation"])
    size = sum(path.stat().st_size for path in config.out.iterdir()) / 1024
    print(f"{config.out}: {agent.name}, seed {agent.seeds[index]}, checkpoint {agent.step}, {size:,.0f} KB, verified")
    moved = ("--data", *config.data) if config.data else ()
    print(f"next: {command_line('export.request', config.out, *moved)}")
    return 0


def known_ground(agent: Agent, ground: EvaluationData) -> EvaluationData:
    """The decisions on a run's candles from which on its base is known.

    Raises:
        InputError: the file of the base does not fit the candles.
    """
    base = base_of(agent, ground.candles.symbols, ground.config.assume_utc)
    return known_data(ground, base, agent.config.market, 0, ground.report)


def digest(data: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def export_graph(agent: Agent, variables: Any) -> bytes:
    """The policy of a run as an ONNX graph."""
    return policy_graph(agent.policy, variables, len(observation_names(agent.places, agent.features)))


def golden_rows(ground: EvaluationData) -> tuple[Member, range]:
    """The newest decisions in one stretch, at most 256 of them, and whose they are.

    Raises:
        InputError: no stretch of the test span has 16 of them.
    """
    found = [(each, stretch[-GOLDEN_STEPS:]) for each in ground.members for stretch in reversed(each.span)]
    member, rows = max(found, key=lambda pair: len(pair[1]))
    if len(rows) < FEWEST_GOLDEN:
        raise InputError(
            f"the run's test span has no {FEWEST_GOLDEN} decisions in a row for the golden numbers; use more candles"
        )
    return member, rows


def make_golden(agent: Agent, variables: Any, ground: EvaluationData) -> dict[str, np.ndarray]:
    """Candles -> observation -> outputs of a rollout in the environment, by Flax."""
    member, rows = golden_rows(ground)
    config, candles = agent.config.market, member.candles
    market, span = stack_decisions([(market_from(candles, config, 0, member.base, agent.features), (rows,))])
    params = make_params(
        to_device(market),
        span,
        episode_steps=len(rows),
        commission_rate=config.commission_rate,
        slippage_bps=config.slippage_bps,
        max_position_pct=config.max_position_pct,
        max_gross=config.max_gross,
        min_trade=config.min_trade,
        ruin=0.0,
    )
    env, policy = TradingEnv(agent.policy.num_assets), agent.policy

    @jax.jit
    def rollout(variables: Any) -> Any:
        def step(state: Any, _: Any) -> Any:
            env_state, carry = state
            obs = env.get_obs(env_state, params)
            carry, output = act(policy, variables, carry, obs[None])
            multiplier = mean_action(output)[0]
            account = env_state.account
            _, env_state, *_ = env.step_env(jax.random.key(0), env_state, multiplier, params)
            info = obs, multiplier, output.value[0], account.weights, account.entry_ratio
            return (env_state, carry), info

        begin = env.state_at(jnp.int32(0)), policy.initial_carry(1)
        return jax.lax.scan(step, begin, length=len(rows))

    (_, carry), info = rollout(variables)
    names = ("observation", "multiplier", "value", "weights", "entry_ratio")
    lookback = agent.features.lookback(candles.bar_ms)
    window = slice(rows[0] - lookback + 1, rows[-1] + 1)
    return {
        **{name: np.asarray(x) for name, x in zip(names, info, strict=True)},
        **{f"carry_{i}": np.asarray(leaf[0]) for i, leaf in enumerate(jax.tree.leaves(carry))},
        **{name: getattr(candles, name)[window] for name in COLUMNS},
        "time": candles.time[window],
        "symbols": np.asarray(candles.symbols),
        "row": np.asarray(rows) - window.start,
    }


def make_probe(agent: Agent, variables: Any, ground: EvaluationData) -> dict[str, np.ndarray]:
    """Observations of the run's candles with accounts and memories of chance, and what Flax says of them."""
    rng, assets = np.random.default_rng(0), agent.policy.num_assets
    member, _ = golden_rows(ground)
    market = market_from(member.candles, agent.config.market, 0, member.base, agent.features)
    rows = rng.choice(decision_rows(member.span), PROBES)
    weights = rng.dirichlet(np.ones(assets + 1), PROBES)[:, :assets] * (rng.random((PROBES, assets)) < 0.8)
    ratio = np.exp(rng.normal(0, 0.1, (PROBES, assets)))
    obs = assemble(market.features[rows], market.corr[rows], weights, ratio).astype(np.float32)
    leaves, tree = jax.tree.flatten(agent.policy.initial_carry(PROBES))
    carry = [rng.uniform(-1, 1, leaf.shape).astype(np.float32) for leaf in leaves]
    after, output = jax.jit(act, static_argnums=0)(agent.policy, variables, jax.tree.unflatten(tree, carry), obs)
    return {
        "observation": obs,
        "multiplier": np.asarray(mean_action(output)),
        "value": np.asarray(output.value),
        **{f"carry_{i}": leaf for i, leaf in enumerate(carry)},
        **{f"next_carry_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(after))},
    }


def make_manifest(
    agent: Agent, index: int, config: BundleConfig, ground: EvaluationData, files: dict[str, str]
) -> dict[str, Any]:
    """The manifest of a bundle: the settings that the server needs, and the provenance of the model."""
    candles, market = ground.candles, agent.config.market
    result = read_result(config.run) or {}
    rules, drift = sizing_rules(market), drift_of(agent, ground)
    return {
        "schema": SCHEMA,
        "name": config.name or config.run.resolve().name,
        "version": f"{agent.step}-{files['policy.onnx'][:8]}",
        "policy": agent.config.policy.policy,
        "symbols": list(agent.symbols),
        "pool": agent.config.data.pool,
        "synthetic": candles.synthetic,
        "source_kind": agent.stored["data"].get("source_kind"),  # of the training: what the volumes mean
        "bar": bar_name(candles.bar_ms),
        "bar_ms": candles.bar_ms,
        "calendar": candles.calendar,
        "decide_every": market.decide_every,
        "decide_phase": market.decide_phase,
        "decisions": decision_words(agent, candles),
        "fill": market.fill,
        "min_candles": fewest_candles(agent, candles.bar_ms),
        "features": {
            "market": list(agent.features.names),
            "account": list(ACCOUNT_FEATURES),
            "sets": {one.name: list(one.names) for one in agent.features.sets},
        },
        "observation": list(observation_names(agent.places, agent.features)),
        "features_hash": features_hash(agent.places, candles.bar_ms, agent.features),
        "action": {"low": 0.0, "high": 2.0, "meaning": "multiplier of each asset's base position"},
        "carry_shapes": [list(leaf.shape[1:]) for leaf in jax.tree.leaves(agent.policy.initial_carry(1))],
        "sizing": {
            "base_sizing": market.sizing,
            "base": CONSTANT[market.sizing](rules, len(agent.places)) if market.sizing in CONSTANT else None,
            "rules": {k: getattr(rules, k) for k in rules.__dataclass_fields__},
        },
        "drift": None if drift is None else drift.to_json(),
        "test_span": figures_of(result, agent.seeds[index]),
        "files": files,
        "checkpoint": {"step": agent.step, "which": agent.checkpoint, "seed": agent.seeds[index]},
        "data": agent.stored["data"] | {"spans": result.get("spans")},
        "config": agent.stored["flags"],
        "expires": iso_second(expiry(ground)),
        "backtest": {k: result.get(k) for k in ("verdict", "agent", "minimum_detectable_sharpe")},
        "made_by": tools(),
    }


def expiry(ground: EvaluationData) -> int:
    """Until when a policy was shown to hold, epoch ms: after its candles as long as its test span, or a month."""
    last = int(ground.candles.time[-1]) + ground.candles.bar_ms
    return last + max(int(ground.times[-1] - ground.times[0]), 30 * DAY_MS)


def fewest_candles(agent: Agent, bar_ms: int) -> int:
    """Rows that the features look back, and the base sizing where its memory is finite; a memory's last decision."""
    sizing = sizing_lookback(bar_ms) if agent.config.market.base_sizing == "vol-target" else 0
    before = agent.config.market.step(bar_ms) + 1 if jax.tree.leaves(agent.policy.initial_carry(1)) else 0
    return max(agent.features.lookback(bar_ms), sizing, before)


def decision_words(agent: Agent, candles: Candles) -> str:
    """Says in the manifest when a client should ask."""
    market, step = agent.config.market, agent.config.market.step(candles.bar_ms)
    if step == 1:
        return "ask at the close of every bar"
    steps = f"every {step} bars; hold the units in between; one step of a memory is one decision"
    if candles.calendar != "continuous":
        return f"ask {steps}"
    return f"ask at closes that are a multiple of {market.decide_every} plus {market.decide_phase}, UTC: {steps}"


def write_card(part: Path, observations: Any) -> None:
    """Writes card.html beside what was verified; what serves the bundle does not read it."""
    model = open_model(read_contents(part), allow_code=True)
    (part / "card.html").write_text(card(model, observations), encoding="utf-8")


def verify(part: Path, probe: Path) -> None:
    """Loads the bundle in another process, as a server would.

    Raises:
        InputError: it does not reproduce what Flax and the environment said.
    """
    command = [sys.executable, "-m", "export.check", str(part), "--probe", str(probe), "--allow-features-code"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        info = last_line(found.stderr, f"exit {found.returncode}").removeprefix("error: ")
        raise InputError(f"the graph is not the policy: {info}")
