"""One trainable objective from one config; the training loop; the Optuna sweeper; the study query."""
