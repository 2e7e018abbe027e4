"""Gradients, losses and optimiser steps in compiled kernels, for arrays that have been checked.

All arrays of a call have one dtype, float32 or float64, and are contiguous, but for x and W of
`affine_backward`, which may have any strides. Numba is imported by the first call, not before. What does not
fit together is refused with a ValueError, before anything is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnet.arguments import KERNEL_DTYPES
from fastnet.kernels.lock import undisturbed

#: numbers of losses and of optimisers, as the kernels have them
SOFTMAX_CLASSES, SOFTMAX_DENSE, SIGMOID_DENSE, SQUARED = range(4)
SGD, MOMENTUM, ADAM = range(3)
_NONE: list[Any] = []

#: entry points by dtype, those that are there; they check every array, and raise ValueError
compiled: dict[np.dtype[Any], Any] = {}
_entries: dict[np.dtype[Any], Any] = {}


class _Points:
    """The entry points for one dtype, with their table."""

    __slots__ = ("activation", "affine", "loss", "table", "update")

    def __init__(self, dtype: np.dtype[Any]) -> None:
        found = entries(dtype)
        self.table = found.table
        self.affine = found.affine_backward
        self.activation = found.activation_backward
        self.loss = found.loss
        self.update = found.update


def entries(dtype: np.dtype[Any]) -> Any:
    """The compiled entry points for float32 or float64, each compiled or loaded when it is asked for."""

    def find() -> Any:  # the import, too: a fork meanwhile would leave the child half of it
        from fastnet.kernels.training_entries import TrainingEntries

        return _entries.setdefault(dtype, TrainingEntries(dtype))

    return _entries.get(dtype) or undisturbed(find)


def points(dtype: Any) -> Any:
    """The compiled entry points for float32 or float64."""
    found = compiled.get(dtype)
    if found is None:
        if dtype not in KERNEL_DTYPES:
            raise ValueError(f"gradients are computed in float32 or float64, not {dtype}")
        found = compiled[KERNEL_DTYPES[dtype]] = _Points(KERNEL_DTYPES[dtype])
    return found


def affine_backward(dout: Any, x: Any, W: Any, dx: Any, dW: Any, db: Any) -> None:
    """The gradients of x @ W + b: dW = x^T dout, db = the sum of the rows of dout, dx = dout W^T.

    Parameters
    ----------
    dout : ndarray
        Gradient of the output, of shape (n, fan_out).
    x : ndarray
        The input, of shape (n, fan_in).
    W : ndarray
        The weights, of shape (fan_in, fan_out).
    dx : ndarray or None
        Where the gradient of x goes, of its shape; None if nobody wants it.
    dW, db : ndarray
        Where those of W and b go, of shapes (fan_in, fan_out) and (fan_out,).

    Raises
    ------
    ValueError
        If dtypes, shapes or layouts do not fit.
    """
    known = compiled.get(dout.dtype) or points(dout.dtype)
    known.affine(dout, x, W, dx, dW, db, known.table)


def activation_backward(activation: int, dout: Any, y: Any, dz: Any) -> None:
    """The gradient of an activation's input.

    Parameters
    ----------
    activation : int
        Its number, of ``kernels/table.py``.
    dout, y : ndarray
        Gradient of the output, and the output; of one shape.
    dz : ndarray
        Where the gradient goes: of the same shape, perhaps `dout` itself.

    Raises
    ------
    ValueError
        If dtypes, shapes or layouts do not fit.
    """
    known = compiled.get(dout.dtype) or points(dout.dtype)
    known.activation(activation, dout, y, dz, known.table)


def softmax_cross_entropy(x: Any, t: Any, y: Any, dz: Any) -> float:
    """Mean cross-entropy of the softmax of each row of x and the class that it belongs to.

    Parameters
    ----------
    x : ndarray
        Scores, of shape (n, classes).
    t : ndarray
        Numbers of classes, int64, of shape (n,).
    y : ndarray
        Where the probabilities go, of x's shape.
    dz : ndarray or None
        Where the gradient of the loss with respect to x goes, of x's shape.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    ValueError
        If dtypes, shapes or layouts do not fit, or a class is out of range.
    """
    known = compiled.get(x.dtype) or points(x.dtype)
    return known.loss(SOFTMAX_CLASSES, x, t, y, dz, known.table)  # type: ignore[no-any-return]


def softmax_cross_entropy_dense(x: Any, t: Any, y: Any, dz: Any) -> float:
    """The same for rows of probabilities (or one-hot rows) t, of x's shape and dtype."""
    known = compiled.get(x.dtype) or points(x.dtype)
    return known.loss(SOFTMAX_DENSE, x, t, y, dz, known.table)  # type: ignore[no-any-return]


def sigmoid_cross_entropy(x: Any, t: Any, y: Any, dz: Any) -> float:
    """Cross-entropy of the sigmoid of each element of x and t, summed up, over the number of rows.

    t is of x's shape and dtype; y receives the sigmoids, dz (or None) the gradient.
    """
    known = compiled.get(x.dtype) or points(x.dtype)
    return known.loss(SIGMOID_DENSE, x, t, y, dz, known.table)  # type: ignore[no-any-return]


def squared_error(x: Any, t: Any, dz: Any) -> float:
    """The mean of (x - t)^2 over all elements; dz (or None) receives the gradient. All of one shape."""
    known = compiled.get(x.dtype) or points(x.dtype)
    return known.loss(SQUARED, x, t, x, dz, known.table)  # type: ignore[no-any-return]


def sgd_all(params: list[Any], grads: list[Any], lr: float) -> None:
    """`sgd` for lists of arrays, in one call."""
    if params:
        known = compiled.get(params[0].dtype) or points(params[0].dtype)
        known.update(SGD, params, grads, _NONE, _NONE, lr, 0.0, 0.0, 0.0, known.table)


def momentum_all(params: list[Any], grads: list[Any], v: list[Any], lr: float, mu: float) -> None:
    """`momentum` for lists of arrays, in one call."""
    if params:
        known = compiled.get(params[0].dtype) or points(params[0].dtype)
        known.update(MOMENTUM, params, grads, _NONE, v, lr, mu, 0.0, 0.0, known.table)


def adam_all(
    params: list[Any],
    grads: list[Any],
    m: list[Any],
    v: list[Any],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    iteration: int,
) -> None:
    """`adam` for lists of arrays, in one call."""
    if params:
        known = compiled.get(params[0].dtype) or points(params[0].dtype)
        known.update(ADAM, params, grads, m, v, *adam_numbers(lr, beta1, beta2, eps, iteration), known.table)


def adam_numbers(
    lr: float, beta1: float, beta2: float, eps: float, iteration: int
) -> tuple[float, float, float, float]:
    """What a step of Adam multiplies with: (rate, 1 - beta1, 1 - beta2, eps)."""
    return lr * (1 - beta2**iteration) ** 0.5 / (1 - beta1**iteration), 1 - beta1, 1 - beta2, eps


def sgd(p: Any, g: Any, lr: float) -> None:
    """p -= lr g, in place."""
    sgd_all([p], [g], lr)


def momentum(p: Any, g: Any, v: Any, lr: float, mu: float) -> None:
    """v = mu v - lr g, then p += v, in place."""
    momentum_all([p], [g], [v], lr, mu)


def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    iteration: int,
) -> None:
    """A step of Adam, in place: m and v move towards g and g^2, and p by m / (sqrt(v) + eps).

    The rate is lr sqrt(1 - beta2^iteration) / (1 - beta1^iteration); iterations count from 1.
    """
    adam_all([p], [g], [m], [v], lr, beta1, beta2, eps, iteration)
