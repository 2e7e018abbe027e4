"""Scaled features, z = x * factor + shift, folded into the affine layer that reads them.

``(x * factor + shift) @ W + b`` is ``x @ (factor * W) + (b + shift @ W)``. Where a feature's mean is large
beside its spread, the two terms of the second form are large and nearly cancel, and their rounding
errors stay: so folding is refused where it is not exact enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastnet.arguments import FLOAT32, FLOAT64

#: how far folding may move a layer's sums, relative to what they are at features of size 1, scaled
TOLERANCE = {FLOAT32: 1e-5, FLOAT64: 1e-10}


class Scaling(NamedTuple):
    """z = x * factor + shift for every feature.

    Parameters
    ----------
    factor, shift : ndarray
        In float64, of shape (n_features,) or ().
    cancelled : ndarray
        At least abs(shift): the size of the terms that shift is the sum of.
    """

    factor: Any
    shift: Any
    cancelled: Any

    @classmethod
    def of(cls, factor: Any, shift: Any) -> Scaling:
        factor, shift = np.asarray(factor, np.float64), np.asarray(shift, np.float64)
        return cls(factor, shift, np.abs(shift))

    def then(self, later: Scaling) -> Scaling:
        """This one first, the other on its result."""
        return Scaling(
            self.factor * later.factor,
            self.shift * later.factor + later.shift,
            self.cancelled * np.abs(later.factor) + later.cancelled,
        )

    def error(self, W: Any, dtype: np.dtype[Any]) -> float:
        """By how much the rounding errors of the folded form exceed those of the other, at most.

        A term x_i * factor_i * W_ij is at most (1 + |shift_i|) |W_ij| large where |z_i| is 1, and the
        bias has a term |shift_i| |W_ij|: each is rounded, the sum of both being |z_i| |W_ij| large.
        """
        size = np.abs(np.asarray(W, np.float64))
        terms = np.broadcast_to(2 * self.cancelled, size.shape[:1]) @ size
        whole = size.sum(axis=0)
        growth = np.divide(terms, whole, out=np.zeros_like(terms), where=whole > 0)
        return float(np.max(growth, initial=0.0) * np.finfo(dtype).eps)

    def fold(self, W: Any, b: Any, name: str) -> tuple[Any, Any]:
        """W and b of the layer that reads x itself, computed in float64, of W's dtype.

        Raises
        ------
        ValueError
            If the scaled features do not keep the precision of `TOLERANCE`, W has another width, or the
            result is not finite.
        """
        W, b = np.asarray(W), np.asarray(b)
        for array in (self.factor, self.shift):
            if array.shape not in ((), W.shape[:1]):
                raise ValueError(f"{name} of {len(array)} features before weights of shape {W.shape}")
        error = self.error(W, W.dtype)
        if not error <= TOLERANCE[W.dtype.newbyteorder("=")]:
            raise ValueError(
                f"{name}: folded into {W.dtype} weights, it would move results by up to {error:.1e} of their "
                "size, as some features vary little beside their mean; subtract that mean first"
            )
        wide = np.asarray(W, np.float64)
        column = np.broadcast_to(self.factor, W.shape[:1])[:, np.newaxis]
        shift = np.broadcast_to(self.shift, W.shape[:1])
        with np.errstate(over="ignore", invalid="ignore"):
            folded, row = (wide * column).astype(W.dtype), (b + shift @ wide).astype(W.dtype)
        if not (np.isfinite(folded).all() and np.isfinite(row).all()):
            raise ValueError(f"{name}: folded weights are beyond {W.dtype}, or were not finite before")
        return folded, row
