"""Ten updates of a run on 1 and on several virtual devices: how far apart they end, and what the devices exchange.

Takes the flags of a run, and from $DEVICES the numbers of devices, prints one JSON object:
{devices: {"apart", "collectives": {kind: count}, "largest"}}.
"""

import json
import os
import re
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np

from himari_jax.command import parse
from train.config.ppo import Config
from train.learning.setup import compile_chunk, first_state
from train.learning.sharding import make_sharding
from train.oracles.task import build_setup
from train.training.session import build_session

UPDATES = 10
COLLECTIVES = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|collective-broadcast"


def train(setup, count: int) -> tuple[dict, str]:
    """Variables after ten updates on that many devices, and the compiled text."""
    sharding = make_sharding(count, setup.learner.sizes)
    runner, params = first_state(setup)().runner, setup.params
    if sharding is not None:
        runner, params = sharding.shard(runner), sharding.replicate(params)
    chunk = compile_chunk(setup, runner, params, sharding)
    runner, _ = chunk(runner, params, np.int32(UPDATES))
    if sharding is not None:
        where = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(runner)}
        assert where == {count}, where
        split = jax.tree.leaves(runner.players.obs)[0].addressable_shards[0].data.shape
        assert split[1] == setup.learner.sizes.num_envs // count, split
    variables = runner.variables if sharding is None else sharding.fetch(runner.variables)
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
    info = {}
    alone = train(setup, 1)[0]["params"]
    for count in map(int, os.environ["DEVICES"].split()):
        variables, text = train(setup, count)
        apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), alone, variables["params"])))
        counts, largest = exchanges(text)
        weights = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        info[count] = {"apart": apart, "collectives": counts, "largest": largest, "weights": weights}
    print(json.dumps(info))


if __name__ == "__main__":
    main(sys.argv[1:])
