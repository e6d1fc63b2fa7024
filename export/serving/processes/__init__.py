"""Processes of the server: sockets, workers, shutdown."""
