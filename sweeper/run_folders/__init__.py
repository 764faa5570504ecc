"""``mdaf runs``: what lies below runs/, and removing what nobody needs."""
