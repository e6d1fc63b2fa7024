"""Requests: bytes, types, keys, and the errors that answer them."""
