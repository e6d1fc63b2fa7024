"""The training loop and the runs it makes."""
