"""Counters for Prometheus and log lines."""
