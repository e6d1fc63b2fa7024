"""Benchmark of the three models: time, memory and latency, by device."""
