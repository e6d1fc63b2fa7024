"""PPO and the pathwise gradient, traced end to end."""
