"""Flags as frozen dataclasses, checked before anything heavy is imported."""
