"""Markets as pure functions."""
