"""Tables of the console and the HTML report."""
