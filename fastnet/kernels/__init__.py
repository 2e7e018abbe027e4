"""Compiled code: kernels on addresses and strides, and the entry points that Python calls."""
