"""What a sweep says: while it runs, at its end, to whom, and what to type next."""
