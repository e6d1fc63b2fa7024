"""From a run to a bundle: graph, manifest, golden vectors."""
