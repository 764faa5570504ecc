"""What the fused kernels share: elementary functions that vectorize, threads, rows without copies.

A kernel lives beside the operation that it serves (``mdaf.model.scan``) or here (``conv_*``, ``dropout_*``). numba and
Triton are imported inside the kernels' modules alone, so importing an operation costs nothing on a machine without
them.
"""
