"""Ten updates of a run on 1, 4 and 8 virtual devices: how far apart they end, and what the devices exchange.

Takes the flags of a run, prints one JSON object: {devices: {"apart", "collectives": {kind: count}, "largest"}}.
"""

import json
import os
import re
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np

from train.cli import parse
from train.config import Config
from train.layout import make_layout
from train.oracle_run import build_setup
from train.session import build_session, compile_chunk, first_state

UPDATES = 10
COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast"


def train(setup, count: int) -> tuple[dict, str]:
    """Variables after ten updates on that many devices, and the compiled text."""
    layout = make_layout(count, setup.learner.sizes)
    runner, params = first_state(setup)().runner, setup.params
    if layout is not None:
        runner, params = layout.spread(runner), layout.copy(params)
    chunk = compile_chunk(setup, runner, params, layout)
    runner, _ = chunk(runner, params, np.int32(UPDATES))
    if layout is not None:
        where = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(runner)}
        assert where == {count}, where
        split = jax.tree.leaves(runner.players.obs)[0].addressable_shards[0].data.shape
        assert split[1] == setup.learner.sizes.num_envs // count, split
    variables = runner.variables if layout is None else layout.fetch(runner.variables)
    return jax.device_get(variables), chunk.as_text()


def exchanges(text: str) -> tuple[dict[str, int], int]:
    """Collectives of a compiled program by kind, and the numbers in the largest of them."""
    counts: dict[str, int] = {}
    largest = 0
    for shapes, kind in re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", text):
        counts[kind] = counts.get(kind, 0) + 1
        sizes = [np.prod([int(n) for n in dims.split(",") if n] or [1]) for dims in re.findall(r"\[([\d,]*)\]", shapes)]
        largest = max(largest, int(sum(sizes)))
    return counts, largest


def main(args: list[str]) -> None:
    """Prints what was found."""
    config = parse(Config, args, "virtual")
    setup = build_session(config) if config.data.env is None else build_setup(config)
    told = {}
    alone = train(setup, 1)[0]["params"]
    for count in (4, 8):
        variables, text = train(setup, count)
        apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), alone, variables["params"])))
        counts, largest = exchanges(text)
        weights = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        told[count] = {"apart": apart, "collectives": counts, "largest": largest, "weights": weights}
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
