"""Writes and reads the artifacts of a run: its folder, checkpoints, copies in a bucket."""
