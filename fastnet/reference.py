"""The network in plain NumPy: what every answer and every timing of fastnet is held against.

Nothing but NumPy is imported here, and nothing is tuned: this file is meant to be read. The interface is
that of the book "Deep Learning from Scratch 2", chapter 1: a layer has a list ``params``, a list ``grads``
of the same shapes, and methods ``forward`` and ``backward``. ``forward`` remembers what ``backward``
needs; ``backward`` takes the gradient of the loss with respect to the layer's output, writes those of the
parameters into the arrays of ``grads``, and returns that of the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def zeros_like(params: list[Any]) -> list[Any]:
    """An array of zeros for each parameter, of its shape and dtype (float64 for whole numbers)."""
    dtypes = [np.asarray(p).dtype for p in params]
    return [
        np.zeros(np.shape(p), d if d.kind in "fcO" else float) for p, d in zip(params, dtypes, strict=True)
    ]


def softmax(x: Any) -> Any:
    """``exp(x) / sum(exp(x))`` over the last axis, with the largest element subtracted from all first."""
    x = np.multiply(x, 1.0)  # unsigned integers would wrap around
    largest = np.max(x, axis=-1, keepdims=True) if x.size else 0.0
    e = np.exp(x - largest)
    return e / np.sum(e, axis=-1, keepdims=True)


class Sigmoid:
    """The logistic function of every element, ``1 / (1 + exp(-x))``."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.out: Any = None

    def forward(self, x: Any) -> Any:
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout: Any) -> Any:
        return dout * (1.0 - self.out) * self.out


class Tanh:
    """The hyperbolic tangent of every element."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.out: Any = None

    def forward(self, x: Any) -> Any:
        self.out = np.tanh(x)
        return self.out

    def backward(self, dout: Any) -> Any:
        return dout * (1.0 - self.out * self.out)


class ReLU:
    """The larger of every element and 0. Its slope at 0 is 0."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.out: Any = None

    def forward(self, x: Any) -> Any:
        self.out = np.maximum(x, 0)
        return self.out

    def backward(self, dout: Any) -> Any:
        return dout * (self.out > 0)


class Softmax:
    """``exp(x) / sum(exp(x))`` over the last axis."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.out: Any = None

    def forward(self, x: Any) -> Any:
        self.out = softmax(x)
        return self.out

    def backward(self, dout: Any) -> Any:
        dx = self.out * dout
        return dx - self.out * np.sum(dx, axis=-1, keepdims=True)


class Affine:
    """``x @ W + b``, with W of shape (fan_in, fan_out) and b of shape (fan_out,)."""

    def __init__(self, W: Any, b: Any) -> None:
        self.params: list[Any] = [W, b]
        self.grads: list[Any] = zeros_like(self.params)
        self.x: Any = None

    def forward(self, x: Any) -> Any:
        W, b = self.params
        self.x = x
        return np.matmul(x, W) + b

    def backward(self, dout: Any) -> Any:
        W, _b = self.params
        dW, db = self.grads
        fan_in, fan_out = np.shape(W)
        count = np.prod(np.shape(self.x)[:-1], dtype=int)
        rows, douts = np.reshape(self.x, (count, fan_in)), np.reshape(dout, (count, fan_out))
        dW[...] = np.matmul(rows.T, douts)
        db[...] = np.sum(douts, axis=0 if np.size(db) == fan_out else None)  # else b is one number
        return np.matmul(dout, np.transpose(W))


class SoftmaxWithLoss:
    """Mean cross-entropy of ``softmax(x)``: t holds the class of each row, or a row of probabilities for it.

    The book adds 1e-7 to each probability before it takes the logarithm. Here the logarithm is that of the
    sum of the exponentials, which is never that of 0, so that the loss is the one whose gradient
    ``backward`` returns.
    """

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.y: Any = None
        self.t: Any = None

    def forward(self, x: Any, t: Any) -> Any:
        x, t = np.multiply(x, 1.0), np.asarray(t)
        self.y, self.t = softmax(x), t if t.ndim == 1 else t.astype(x.dtype)
        below = x - np.max(x, axis=1, keepdims=True)
        log_y = below - np.log(np.sum(np.exp(below), axis=1, keepdims=True))
        if t.ndim == 1:
            return -np.sum(log_y[np.arange(len(t)), t]) / len(t)
        return -np.sum(np.where(t != 0, self.t * log_y, 0)) / len(t)

    def backward(self, dout: Any = 1) -> Any:
        if self.t.ndim == 1:
            dx = self.y.copy()
            dx[np.arange(len(self.t)), self.t] -= 1
        else:
            dx = self.y - self.t
        return dx * dout / len(self.t)


class SigmoidWithLoss:
    """Cross-entropy of ``sigmoid(x)`` and t, which is 0, 1 or a probability: summed up, over the rows."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.y: Any = None
        self.t: Any = None

    def forward(self, x: Any, t: Any) -> Any:
        x = np.multiply(x, 1.0)
        self.y, self.t = 1 / (1 + np.exp(-x)), np.asarray(t, x.dtype)
        # t log(1 + exp(-x)) + (1 - t) log(1 + exp(x)), without overflow
        return np.sum(np.maximum(x, 0) - x * self.t + np.log1p(np.exp(-abs(x)))) / len(x)

    def backward(self, dout: Any = 1) -> Any:
        return (self.y - self.t) * dout / len(self.t)


class MeanSquaredError:
    """The mean of ``(x - t) ** 2`` over all elements."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self.x: Any = None
        self.t: Any = None

    def forward(self, x: Any, t: Any) -> Any:
        self.x = np.multiply(x, 1.0)
        self.t = np.asarray(t, self.x.dtype)
        return np.mean((self.x - self.t) ** 2)

    def backward(self, dout: Any = 1) -> Any:
        return 2 * (self.x - self.t) * dout / self.x.size


class SGD:
    """Stochastic gradient descent: every parameter, less lr times its gradient."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def update(self, params: list[Any], grads: list[Any]) -> None:
        for p, g in zip(params, grads, strict=True):
            p -= self.lr * g


class Momentum:
    """Gradient descent with a velocity v for each parameter, which keeps a share of what it was."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = lr
        self.momentum = momentum
        self.v: list[Any] | None = None

    def update(self, params: list[Any], grads: list[Any]) -> None:
        if self.v is None:
            self.v = zeros_like(params)
        for p, g, v in zip(params, grads, self.v, strict=True):
            v[...] = self.momentum * v - self.lr * g
            p += v


class Adam:
    """Steps scaled by running means of the gradient, m, and of its square, v (Kingma and Ba, 2015).

    The book adds 1e-7 to the root of v, and corrects the bias of both means in the rate.
    """

    def __init__(
        self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-7
    ) -> None:
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.iter = 0
        self.m: list[Any] | None = None
        self.v: list[Any] | None = None

    def update(self, params: list[Any], grads: list[Any]) -> None:
        if self.m is None or self.v is None:
            self.m, self.v = zeros_like(params), zeros_like(params)
        self.iter += 1
        rate = self.lr * (1 - self.beta2**self.iter) ** 0.5 / (1 - self.beta1**self.iter)
        for p, g, m, v in zip(params, grads, self.m, self.v, strict=True):
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g**2 - v)
            p -= rate * m / (np.sqrt(v) + self.eps)


class TwoLayerNet:
    """Affine, Sigmoid, Affine: class scores of each row of x, drawn from ``np.random.randn``."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        W1 = np.random.randn(input_size, hidden_size)
        b1 = np.random.randn(hidden_size)
        W2 = np.random.randn(hidden_size, output_size)
        b2 = np.random.randn(output_size)

        self.layers: list[Any] = [Affine(W1, b1), Sigmoid(), Affine(W2, b2)]
        self.loss_layer: Any = SoftmaxWithLoss()
        self.params: list[Any] = [p for layer in self.layers for p in layer.params]
        self.grads: list[Any] = [g for layer in self.layers for g in layer.grads]

    def predict(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward(self, x: Any, t: Any) -> Any:
        return self.loss_layer.forward(self.predict(x), t)

    def backward(self, dout: Any = 1) -> Any:
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
