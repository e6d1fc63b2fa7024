"""Backtests and comparisons over windows, costs, delays and seeds."""
