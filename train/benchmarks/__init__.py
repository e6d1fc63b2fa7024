"""Speed beside other engines and trainers."""
