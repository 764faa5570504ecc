"""``mdaf doctor``: what is installed here, what is missing for what, and what to type."""
