"""Everything that a GPU does, timed in a few minutes: training, peers, backtests, retrainings."""
