"""From run to answer."""
