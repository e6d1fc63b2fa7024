"""Answers: instances to inputs, one run of the graph, the two protocols."""
