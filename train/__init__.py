"""Learning and judging; each module with a `main` is a command."""
