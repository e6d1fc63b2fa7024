"""Guarded reading of a bundle: its files, and the rules for manifest, graph and golden archive."""
