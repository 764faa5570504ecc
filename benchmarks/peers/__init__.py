"""Training beside FuxiCTR and torch-rechub."""
