"""From flags to checked candles, spans and markets."""
