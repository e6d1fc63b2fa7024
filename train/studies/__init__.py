"""Many trainings that answer one question: walk-forward, sweep, permutation test."""
