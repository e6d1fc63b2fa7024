"""Metrics of accounts, their errors, and comparisons of them."""
