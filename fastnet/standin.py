"""The signatures of fastnet/backprop.py in NumPy, until that is there."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnet import reference
from fastnet.kernels.table import RELU, SIGMOID, SOFTMAX, TANH

_TWINS: dict[int, Any] = {
    SIGMOID: reference.Sigmoid,
    TANH: reference.Tanh,
    RELU: reference.ReLU,
    SOFTMAX: reference.Softmax,
}


def affine_backward(dout: Any, x: Any, W: Any, dx: Any, dW: Any, db: Any) -> None:
    if dx is not None:
        np.matmul(dout, W.T, out=dx)
    np.matmul(x.T, dout, out=dW)
    np.sum(dout, axis=0, out=db)


def activation_backward(code: int, dout: Any, y: Any, dz: Any) -> None:
    twin = _TWINS[code]()
    twin.out = y
    dz[...] = twin.backward(dout)


def _loss(twin: Any, x: Any, t: Any, y: Any, dz: Any) -> float:
    loss = twin.forward(x, t)
    if y is not None:
        y[...] = twin.y
    if dz is not None:
        dz[...] = twin.backward()
    return float(loss)


def softmax_cross_entropy(x: Any, t: Any, y: Any, dz: Any) -> float:
    wrong = np.flatnonzero((t < 0) | (t >= x.shape[1]))
    if len(wrong):
        raise ValueError(
            f"t[{wrong[0]}] is {t[wrong[0]]}, but x of shape {x.shape} has classes 0 to {x.shape[1] - 1}"
        )
    return _loss(reference.SoftmaxWithLoss(), x, t, y, dz)


def softmax_cross_entropy_dense(x: Any, t: Any, y: Any, dz: Any) -> float:
    return _loss(reference.SoftmaxWithLoss(), x, t, y, dz)


def sigmoid_cross_entropy(x: Any, t: Any, y: Any, dz: Any) -> float:
    return _loss(reference.SigmoidWithLoss(), x, t, y, dz)


def squared_error(x: Any, t: Any, dz: Any) -> float:
    return _loss(reference.MeanSquaredError(), x, t, None, dz)


def sgd(p: Any, g: Any, lr: float) -> None:
    p -= lr * g


def momentum(p: Any, g: Any, v: Any, lr: float, mu: float) -> None:
    v[...] = mu * v - lr * g
    p += v


def adam(
    p: Any, g: Any, m: Any, v: Any, lr: float, beta1: float, beta2: float, eps: float, iteration: int
) -> None:
    rate = lr * (1 - beta2**iteration) ** 0.5 / (1 - beta1**iteration)
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g**2 - v)
    p -= rate * m / (np.sqrt(v) + eps)


def sgd_all(params: Any, grads: Any, lr: float) -> None:
    for p, g in zip(params, grads, strict=True):
        sgd(p, g, lr)


def momentum_all(params: Any, grads: Any, v: Any, lr: float, mu: float) -> None:
    for arrays in zip(params, grads, v, strict=True):
        momentum(*arrays, lr, mu)


def adam_all(params: Any, grads: Any, m: Any, v: Any, *numbers: Any) -> None:
    for arrays in zip(params, grads, m, v, strict=True):
        adam(*arrays, *numbers)
