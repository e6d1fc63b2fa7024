"""The HTTP server: requests, answers, models, workers."""
