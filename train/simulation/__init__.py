"""Plays policies, rules and baselines on a span through the account."""
