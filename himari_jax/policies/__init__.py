"""Policies: normalizer -> core -> actor and critic heads. A module that defines `make` is a core."""
