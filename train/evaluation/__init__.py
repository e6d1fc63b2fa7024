"""From accounts on a span to metrics, gates, audits and a verdict."""
