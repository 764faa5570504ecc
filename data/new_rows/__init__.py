"""Rows that a trained model is to score: raw ids without labels, encoded by the store that the model was trained on."""
