"""The paper loop: candles as they close, a decision a bar, a log that can be replayed, a paper account; no jax."""
