"""What a bundle may hold: guarded reading of its files, and the rules for manifest, graph and golden archive."""
