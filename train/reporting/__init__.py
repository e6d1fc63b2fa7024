"""Shows results: tables on the console, and a report of one HTML file."""
