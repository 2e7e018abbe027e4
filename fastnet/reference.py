"""The network in plain NumPy: what every answer and every timing of fastnet is held against.

Nothing but NumPy is imported here, and nothing is tuned: this file is meant to be read.
The interface, layer classes with a list ``params`` and a method ``forward``, and the
two-layer network are those of the book "Deep Learning from Scratch 2", chapter 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Sigmoid:
    """The logistic function of every element, ``1 / (1 + exp(-x))``."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def forward(self, x: Any) -> Any:
        return 1 / (1 + np.exp(-x))


class Tanh:
    """The hyperbolic tangent of every element."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def forward(self, x: Any) -> Any:
        return np.tanh(x)


class ReLU:
    """The larger of every element and 0."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def forward(self, x: Any) -> Any:
        return np.maximum(x, 0)


class Softmax:
    """``exp(x) / sum(exp(x))`` over the last axis, with the largest element subtracted from all first."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def forward(self, x: Any) -> Any:
        x = np.multiply(x, 1.0)  # unsigned integers would wrap around
        largest = np.max(x, axis=-1, keepdims=True) if x.size else 0.0
        e = np.exp(x - largest)
        return e / np.sum(e, axis=-1, keepdims=True)


class Affine:
    """``x @ W + b``, with W of shape (fan_in, fan_out) and b of shape (fan_out,)."""

    def __init__(self, W: Any, b: Any) -> None:
        self.params: list[Any] = [W, b]

    def forward(self, x: Any) -> Any:
        W, b = self.params
        return np.matmul(x, W) + b


class TwoLayerNet:
    """Affine, Sigmoid, Affine: class scores of each row of x, drawn from ``np.random.randn``."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        W1 = np.random.randn(input_size, hidden_size)
        b1 = np.random.randn(hidden_size)
        W2 = np.random.randn(hidden_size, output_size)
        b2 = np.random.randn(output_size)

        self.layers: list[Any] = [Affine(W1, b1), Sigmoid(), Affine(W2, b2)]
        self.params: list[Any] = [p for layer in self.layers for p in layer.params]

    def predict(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x
