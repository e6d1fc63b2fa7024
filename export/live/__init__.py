"""The paper loop: a decision and a log record for each closed bar, paper accounts, replay of the log; no jax."""
