"""Fused kernels, and what all of them share.

``NAME_cpu.py`` (numba) and ``NAME_triton.py`` (CUDA) are two kernels of one operation of ``mdaf.model.ops``, or of an
optimizer in ``mdaf.sweeper.training.optim``. The kernels of the selective scan are in ``mdaf.model.scan``.

``backend``                     which kernel can run on which tensors.
``elementary``, ``triton_math`` exp, sigmoid, softplus, erf and sums in a fixed order.
``rows``                        tensors as evenly spaced rows, without a copy.
``threads``, ``numba_jit``      how CPU kernels are run on threads, compiled and cached on disk.
``compiling``                   how long this process has compiled CPU kernels.
``precompile``                  compiles all Triton kernels of a training step on several threads.

Only the kernels' own modules import numba and Triton. A machine without them can import every operation.
"""
