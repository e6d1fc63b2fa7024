"""What a run writes and reads: folder, checkpoints, uploads."""
