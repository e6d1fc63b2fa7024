"""Peers that train on the same markets: each runs in a process of its own and answers with one JSON line."""
