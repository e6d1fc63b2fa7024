"""Writes down the parameters and arrays of a market for processes without jax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.oracles.garleanu_pedersen import GarleanuPedersen
from envs.oracles.hidden_drift import HiddenDrift
from himari_jax.policies.policy import CLIP
from train.learning.setup import Setup
from train.training.session import Session


def describe(setup: Setup, folder: Path) -> dict[str, Any]:
    """Kind and parameters of a market; candles go into an npz file in the folder.

    Raises:
        ValueError: a market without a numpy implementation.
    """
    if isinstance(setup, Session):
        path = folder / "candles.npz"
        np.savez(path, allow_pickle=False, **rows(setup))
        return {"kind": "candles", "path": str(path), "account": account(setup), "of": setup.candles.fingerprint}
    env = setup.learner.env
    if isinstance(env, HiddenDrift) and not env.costly:
        parameters = {name: getattr(env, name) for name in ("sigma", "risk_aversion", "mu", "p")}
    elif isinstance(env, GarleanuPedersen):
        parameters = {name: getattr(env, name) for name in ("sigma", "risk_aversion", "phi", "signal", "cost")}
        parameters["gain"] = tuple(float(x) for x in env.riccati[1])
    else:
        raise ValueError(f"no numpy twin of {env}")
    return {"kind": setup.config.data.env, "parameters": parameters | {"optimum": env.optimum.value}}


def rows(session: Session) -> dict[str, np.ndarray]:
    """Arrays of a single-asset market, features standardized as the policy has them."""
    market, params = session.parts[0].market, session.params
    assert session.constants is not None
    scaling = {name: np.asarray(x)[:12] for name, x in session.constants["normaliser"].items()}
    features = np.clip((market.features[:, 0] - scaling["mean"]) / scaling["std"], -CLIP, CLIP)
    return {
        "to_fill": market.to_fill[:, 0],
        "to_mark": market.to_mark[:, 0],
        "features": features.astype(np.float32),
        "base": market.base[:, 0],
        "tradable": market.tradable[:, 0],
        "starts": np.asarray(params.starts),
        "last": np.asarray(params.last),
    }


def account(session: Session) -> dict[str, float]:
    """Costs and limits."""
    params = session.params
    info = {name: getattr(params, name) for name in ("min_trade", "max_position_pct", "max_gross", "ruin")}
    return {name: float(x) for name, x in jax.device_get(info | {"rate": params.costs.rate}).items()}
