"""Bundles of trained policies: export, verification, serving, paper trading."""
