"""A sweep: many configurations, one choice, one look at the test span."""
