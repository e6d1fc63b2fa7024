"""Runs of many configurations: candles are read and checked once for all that share them."""

import json
from dataclasses import asdict
from typing import Any

from train.config.ppo import Config
from train.training.session import Prepared, Session, prepare, session_of


class Sessions:
    """Builds the run of a configuration; keeps candles, not runs."""

    def __init__(self) -> None:
        self.prepared: dict[str, Prepared] = {}

    def __call__(self, config: Config) -> Session:
        """Builds the run of a configuration.

        Raises:
            InputError: flags or data do not fit; one line.
        """
        key = self.key(config)
        if key not in self.prepared:
            self.prepared[key] = prepare(config)
        return session_of(config, self.prepared[key])

    @staticmethod
    def key(config: Config) -> str:
        """Key of the candles and features that a configuration needs."""
        made: dict[str, Any] = {
            "data": asdict(config.data),
            "options": {name: asdict(options) for name, options in config.source_options.items()},
            "features": config.market.features,
        }
        return json.dumps(made, sort_keys=True, default=str)
