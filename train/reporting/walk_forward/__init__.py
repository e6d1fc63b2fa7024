"""Shows walk-forward tests: console, picture, figures and sections of the report."""
