"""A minimal FastAPI server of a bundle: the same answers on the same input, without keys, limits, tokens and counts.

`python -m export.benchmarks.fastapi_app BUNDLE` listens on a free port and prints it; one process, as uvicorn runs it.
"""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from export.loading import load
from export.runtime import Model, check_request_candles, own_base, size
from himari_jax.candles import COLUMNS
from himari_jax.features.market import newest_features
from himari_jax.features.observation import Holdings, account_state, assemble


class Columns(BaseModel):
    """Candles of one symbol, oldest first."""

    time: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]


class Holding(BaseModel):
    """The position in one symbol."""

    units: float
    entry_price: float


class Account(BaseModel):
    """The caller's account."""

    equity: float
    positions: dict[str, Holding]


class Instance(BaseModel):
    """Candles or an observation, and an account."""

    candles: dict[str, Columns] | None = None
    observation: list[float] | None = None
    features_hash: str | None = None
    account: Account
    base_position: dict[str, float] | None = None


class Request(BaseModel):
    """Body of `/predict`."""

    instances: list[Instance]


class Asset(BaseModel):
    """The answer for one symbol."""

    multiplier: float
    weight: float
    position: float
    capped: bool


class Prediction(BaseModel):
    """One answer."""

    symbols: dict[str, Asset]
    value: float


class Response(BaseModel):
    """Body of an answer."""

    predictions: list[Prediction]


def make_app(model: Model) -> FastAPI:
    """Makes the application of a verified bundle without recurrent state."""
    app = FastAPI()

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        return Response(predictions=[answer(model, instance) for instance in request.instances])

    return app


def answer(model: Model, instance: Instance) -> Prediction:
    """Answers one instance."""
    observation, base = observe(model, instance)
    found = model.predict(observation[None])
    equity = instance.account.equity
    if instance.base_position is not None:
        base = np.array([instance.base_position[symbol] for symbol in model.symbols]) / equity
    sized = size(model, found.multiplier[0], base)
    columns = (found.multiplier[0].tolist(), sized.weight.tolist(), sized.capped.tolist())
    symbols = {
        symbol: Asset(multiplier=m, weight=w, position=w * equity, capped=c)
        for symbol, m, w, c in zip(model.symbols, *columns, strict=True)
    }
    return Prediction(symbols=symbols, value=float(found.value[0]))


def observe(model: Model, instance: Instance) -> tuple[np.ndarray, Any]:
    """Builds the observation, (D,) float32, by the code of training, and the base position of the model."""
    if instance.candles is None:
        if instance.features_hash != model.features_hash or len(instance.observation or ()) != model.width:
            raise HTTPException(400, "no observation of this model")
        return np.array(instance.observation, np.float32), None
    columns: dict[str, Any] = {
        symbol: {name: np.array(getattr(given, name)) for name in ("time", *COLUMNS)}
        for symbol, given in instance.candles.items()
    }
    candles = check_request_candles(model, columns, time.time_ns() // 1_000_000)
    features, corr = newest_features(candles, model.features)
    positions = instance.account.positions
    held = [positions.get(symbol, Holding(units=0.0, entry_price=1.0)) for symbol in model.symbols]
    units, entry = np.array([x.units for x in held]), np.array([x.entry_price for x in held])
    weights, ratio = account_state(Holdings(instance.account.equity, units, entry), candles.close[-1])
    observation = assemble(features[-1], corr[-1], weights, ratio).astype(np.float32)
    return observation, None if instance.base_position else own_base(model, candles)


def main(bundle: str) -> None:
    """Serves a bundle until a signal comes."""
    app = make_app(load(Path(bundle)))
    sock = socket.create_server(("127.0.0.1", 0))
    print(f'{{"port": {sock.getsockname()[1]}}}', flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(sys.argv[1])
