"""From flags to a policy."""

from himari_jax.policies import make_core
from himari_jax.policies.policy import Policy
from train.config.ppo import Config


def make_policy(config: Config, num_assets: int, costly: bool, start: float) -> Policy:
    """The policy that the flags name.

    Args:
        config: flags.
        num_assets: N.
        costly: whether trading costs something where it learns.
        start: multiplier at the start, unless the flags say one.
    """
    flags = config.policy
    core, heads = make_core(
        flags.policy,
        hidden_dim=config.hidden_dim(num_assets),
        num_layers=flags.num_layers,
        lstm_hidden_dim=flags.lstm_hidden_dim,
        lstm_num_layers=flags.lstm_num_layers,
    )
    return Policy(core, num_assets, heads, config.initial_log_std(costly), flags.initial_multiplier or start)
