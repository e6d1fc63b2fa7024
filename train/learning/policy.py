"""Makes the policy that flags name."""

from himari_jax.policies.policy import Policy
from himari_jax.policies.registry import make_core
from train.config.ppo import Config


def make_policy(config: Config, num_assets: int, costly: bool, start: float) -> Policy:
    """Makes the policy that the flags name, without variables.

    Args:
        config: flags.
        num_assets: N.
        costly: whether trading costs something.
        start: multiplier that it starts from, unless the flags give one.
    """
    policy = config.policy
    core, heads = make_core(
        policy.policy,
        hidden_dim=config.hidden_dim(num_assets),
        num_layers=policy.num_layers,
        lstm_hidden_dim=policy.lstm_hidden_dim,
        lstm_num_layers=policy.lstm_num_layers,
    )
    return Policy(
        core, num_assets, heads, config.initial_log_std(costly, num_assets), policy.initial_multiplier or start
    )
