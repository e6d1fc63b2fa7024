"""Features of the market, from candles to the observation of the policy."""
