"""Search over points and seeds, one trainable objective, and the study query."""
