"""Training and evaluation; each module with a `main` is a command."""
