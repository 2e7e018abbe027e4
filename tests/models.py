"""The table of models that formats are tried on, and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import fastnet
from fastnet.formats.parts import ACTIVATIONS
from tests.cases import KERNEL_DTYPES, Weights, draw, draw_weights

#: relative, and absolute for results of order 1: other libraries sum in another order
TOLERANCE = {"float32": (1e-4, 1e-5), "float64": (1e-11, 1e-13)}


@dataclass(frozen=True)
class Architecture:
    """Sizes, and what follows each affine layer."""

    label: str
    sizes: tuple[int, ...]
    activations: tuple[str, ...]

    def weights(self, dtype: str) -> Weights:
        return draw_weights(np.random.default_rng(len(self.sizes)), self.sizes, dtype)

    def x(self, dtype: str, rows: int = 50) -> np.ndarray:
        return draw(np.random.default_rng(1), (rows, self.sizes[0]), dtype)

    def build(self, dtype: str) -> fastnet.Sequential:
        layers: list[Any] = []
        for (W, b), name in zip(self.weights(dtype), self.activations, strict=True):
            layers.append(fastnet.Affine(W, b))
            activation = ACTIVATIONS[name]
            layers += [] if activation is None else [activation()]
        return fastnet.Sequential(layers)


ARCHITECTURES = [
    Architecture("sigmoid", (2, 4, 3), ("sigmoid", "identity")),
    Architecture("relu-softmax", (4, 9, 3), ("relu", "softmax")),
    Architecture("deep", (7, 9, 8, 17, 2), ("tanh", "sigmoid", "relu", "sigmoid")),
    Architecture("linear", (5, 4, 3), ("identity", "identity")),
    Architecture("one output", (3, 1), ("sigmoid",)),
    Architecture("square", (6, 6, 6, 6), ("tanh", "relu", "softmax")),
    Architecture("wide", (30, 100, 10), ("tanh", "tanh")),
]
BY_LABEL = {a.label: a for a in ARCHITECTURES}
DTYPES = KERNEL_DTYPES


def close(got: Any, want: Any, dtype: str) -> None:
    """Same dtype and shape, values within what another order of sums may do."""
    want = np.asarray(want)
    assert got.dtype == want.dtype == dtype
    rtol, atol = TOLERANCE[dtype]
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
    assert got.shape == want.shape
