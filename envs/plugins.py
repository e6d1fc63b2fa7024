"""The tables of the plug-ins of environments: markets with a known optimum, reward terms; free of jax."""

from himari_jax.plugins import Functions, Modules

MARKETS = Modules("--env", "envs.oracles", hyphens=True, entry="MARKET")
REWARD_TERMS = Functions("--reward", "envs.rewards")
