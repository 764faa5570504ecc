"""``mdaf check``: what a model, with a source, still lacks of what training and its reports count on."""
