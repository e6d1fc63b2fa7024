"""Processes of the server: sockets, workers, orderly ends."""
