"""Base positions and the rules that compute them; baselines."""
