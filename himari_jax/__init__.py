"""HIMARI JAX: trains position sizing for crypto desks and says honestly whether it has an edge."""

__version__ = "0.2.0.dev0"
