"""The walk-forward tests of the evidence, and their tables."""
