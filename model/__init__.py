"""Networks and their kernels. Knows no files, no Hydra, no Optuna."""

from mdaf.model.caches import name_caches

name_caches()  # before anything below imports torch or Triton
