"""Operations with a gradient of their own, each with a reference beside its kernels."""
