"""The rectifier, max(x, 0)."""

from __future__ import annotations

from fastnet.kernels.vector import Vec


def relu(x: Vec) -> Vec:
    """The larger of each lane and 0; NaN stays NaN."""
    zero = x.like(0.0)
    return (x < zero).where(zero, x)
