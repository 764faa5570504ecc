"""Differentiable operations with fused kernels. Each has a reference in plain PyTorch, which its kernels are tested by.

``mdaf.model.layers`` calls them. The kernels are in ``mdaf.model.kernels``.
"""
