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

from export.bundling.card import card
from export.bundling.config import BundleConfig
from export.bundling.drift import drift_of
from export.bundling.golden import golden_source, make_golden, make_probe
from export.bundling.test_span import figures_of
from export.contents.files import read_contents
from export.loading import open_model
from export.runtime import FILES, SCHEMA
from himari_jax.atomic import replacing
from himari_jax.candles import Candles
from himari_jax.drift import DriftTable
from himari_jax.errors import InputError, last_line
from himari_jax.features.market import ACCOUNT_FEATURES, market_features, observation_names
from himari_jax.features.observation import features_hash
from himari_jax.onnx.graph import policy_graph
from himari_jax.pasting import command_line
from himari_jax.positions.sizing import CONSTANT, sizing_lookback
from himari_jax.times import DAY_MS, bar_name, iso_second
from train.artifacts.files import storage_errors
from train.artifacts.provenance import tools
from train.artifacts.run_folder import read_result
from train.config.backtest import EvaluationDataConfig
from train.data.evaluation_data import EvaluationData, known_data, load_evaluation_data
from train.data.market import sizing_rules
from train.simulation.trained import Agent, base_of, cuts_of, load_agent


def write_bundle(config: BundleConfig) -> int:
    """Writes a bundle, verifies it in another process, and only then gives the folder its name; returns 0."""
    if config.out.exists():
        raise InputError(f"--out {config.out}: exists already; choose another folder")
    agent = load_agent(config.run, config.checkpoint)
    index = agent.chosen if config.seed_index is None else config.seed_index
    if index >= len(agent.seeds):
        raise InputError(f"--seed-index {index}: {config.run} has {len(agent.seeds)} seeds, from 0")
    data = load_data(agent, config.data)
    variables = jax.tree.map(lambda x: jnp.asarray(x[index]), agent.variables)
    graph = export_graph(agent, variables)
    inputs = [market_features(member.candles, agent.features) for member in data.members]
    source = golden_source(agent, data, inputs)
    golden: dict[str, Any] = make_golden(agent, variables, source) | {"policy_sha256": np.str_(digest(graph))}
    with tempfile.TemporaryDirectory(prefix="himari-") as scratch:
        probe = Path(scratch) / "probe.npz"
        probed: dict[str, Any] = make_probe(agent, variables, source)
        np.savez(probe, **probed)
        with storage_errors(f"--out {config.out}"), replacing(config.out) as part:
            part.mkdir(parents=True)
            (part / "policy.onnx").write_bytes(graph)
            np.savez_compressed(part / "golden.npz", **golden)
            for name, code in agent.features.files.items():
                (part / name).write_bytes(code)
            files = {name: digest((part / name).read_bytes()) for name in (*FILES, *agent.features.files)}
            drift = drift_of(agent, data, [values for values, _ in inputs])
            manifest = json.dumps(make_manifest(agent, agent.seeds[index], config, data, drift, files), indent=2)
            (part / "manifest.json").write_text(manifest + "\n")
            verify(part, probe)
            write_card(part, golden["observation"])
    size = sum(path.stat().st_size for path in config.out.iterdir()) / 1024
    print(f"{config.out}: {agent.name}, seed {agent.seeds[index]}, checkpoint {agent.step}, {size:,.0f} KB, verified")
    moved = ("--data", *config.data) if config.data else ()
    print(f"next: {command_line('export.request', config.out, *moved)}")
    return 0


def load_data(agent: Agent, paths: tuple[str, ...]) -> EvaluationData:
    """Loads the candles of a run, with the decisions at which its base is known.

    Args:
        agent: of the run.
        paths: of the candles, where they moved.

    Raises:
        InputError: the file of the base does not fit the candles.
    """
    config = agent.config
    flags = EvaluationDataConfig(data=paths)
    data = load_evaluation_data(
        flags, config.data, config.market, config.source_options, cuts_of(agent), agent.features
    )
    base = base_of(agent, data.candles.symbols, data.config.assume_utc)
    return known_data(data, base, config.market, 0, data.report)


def digest(data: bytes) -> str:
    """Returns the SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def export_graph(agent: Agent, variables: Any) -> bytes:
    """Exports the policy of a run as an ONNX graph."""
    return policy_graph(agent.policy, variables, len(observation_names(agent.places, agent.features)))


def make_manifest(
    agent: Agent, seed: int, config: BundleConfig, data: EvaluationData, drift: DriftTable | None, files: dict[str, str]
) -> dict[str, Any]:
    """Makes the manifest of a bundle: the settings that the server needs, and the provenance of the model."""
    candles, market = data.candles, agent.config.market
    result = read_result(config.run) or {}
    return {
        "schema": SCHEMA,
        "name": config.name or config.run.resolve().name,
        "version": f"{agent.step}-{files['policy.onnx'][:8]}",
        "policy": agent.config.policy.policy,
        "symbols": list(agent.symbols),
        "pool": agent.config.data.pool,
        "synthetic": candles.synthetic,
        "source_kind": agent.stored["data"].get("source_kind"),  # kind of the volumes in training
        "bar": bar_name(candles.bar_ms),
        "bar_ms": candles.bar_ms,
        "calendar": candles.calendar,
        "decide_every": market.decide_every,
        "decide_phase": market.decide_phase,
        "decisions": decision_words(agent, candles),
        "fill": market.fill,
        "min_candles": fewest_candles(agent, candles.bar_ms),
        **observation_part(agent, candles.bar_ms),
        "action": {"low": 0.0, "high": 2.0, "meaning": "multiplier of each asset's base position"},
        "carry_shapes": [list(leaf.shape[1:]) for leaf in jax.tree.leaves(agent.policy.initial_carry(1))],
        "sizing": sizing_part(agent),
        "drift": None if drift is None else drift.to_json(),
        "test_span": figures_of(result, seed),
        "files": files,
        "checkpoint": {"step": agent.step, "which": agent.checkpoint, "seed": seed},
        "data": agent.stored["data"] | {"spans": result.get("spans")},
        "config": agent.stored["flags"],
        "expires": iso_second(expiry(data)),
        "backtest": {k: result.get(k) for k in ("verdict", "agent", "minimum_detectable_sharpe")},
        "made_by": tools(),
    }


def observation_part(agent: Agent, bar_ms: int) -> dict[str, Any]:
    """Describes the observation for the manifest: features, names, hash."""
    return {
        "features": {
            "market": list(agent.features.names),
            "account": list(ACCOUNT_FEATURES),
            "sets": {one.name: list(one.names) for one in agent.features.sets},
        },
        "observation": list(observation_names(agent.places, agent.features)),
        "features_hash": features_hash(agent.places, bar_ms, agent.features),
    }


def sizing_part(agent: Agent) -> dict[str, Any]:
    """Describes base sizing and caps for the manifest."""
    sizing, rules = agent.config.market.sizing, sizing_rules(agent.config.market)
    return {
        "base_sizing": sizing,
        "base": CONSTANT[sizing](rules, len(agent.places)) if sizing in CONSTANT else None,
        "rules": {k: getattr(rules, k) for k in rules.__dataclass_fields__},
    }


def expiry(data: EvaluationData) -> int:
    """Returns when a policy expires, epoch ms: after its candles by the length of its test span, at least 30 days."""
    last = int(data.candles.time[-1]) + data.candles.bar_ms
    return last + max(int(data.times[-1] - data.times[0]), 30 * DAY_MS)


def fewest_candles(agent: Agent, bar_ms: int) -> int:
    """Returns the candles that a request needs for features, base sizing and the decision before."""
    sizing = sizing_lookback(bar_ms) if agent.config.market.base_sizing == "vol-target" else 0
    before = agent.config.market.step(bar_ms) + 1 if jax.tree.leaves(agent.policy.initial_carry(1)) else 0
    return max(agent.features.lookback(bar_ms), sizing, before)


def decision_words(agent: Agent, candles: Candles) -> str:
    """Describes for the manifest when a client should ask."""
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
        InputError: it does not reproduce the outputs of Flax and the environment.
    """
    command = [sys.executable, "-m", "export.check", str(part), "--probe", str(probe), "--allow-features-code"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        info = last_line(found.stderr, f"exit {found.returncode}").removeprefix("error: ")
        raise InputError(f"the graph is not the policy: {info}")
