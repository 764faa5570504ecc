"""Networks and their kernels. Knows no files, no Hydra, no Optuna."""
