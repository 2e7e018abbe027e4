"""Layers: a list ``params`` and a method ``forward(x)`` each."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

from fastnet import fused
from fastnet.arguments import Holder
from fastnet.kernels.table import IDENTITY, RELU, SIGMOID, SOFTMAX, TANH
from fastnet.shortcut import Shortcut, shortcut


class Layer(Holder):
    """What the layers share: weights are read from ``params`` at every call."""

    __slots__ = ("__dict__", "__weakref__")

    def __init__(self, params: list[Any]) -> None:
        super().__init__(params)
        self._shortcut: Shortcut | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in ("forward", "__class__"):
            Shortcut.forget_all()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name == "forward":
            Shortcut.forget_all()

    def __getstate__(self) -> tuple[list[Any], dict[str, Any]]:
        return self.params, {**vars(self), "_shortcut": None}

    def __setstate__(self, state: tuple[list[Any], dict[str, Any]]) -> None:
        self.params, attributes = state
        vars(self).update(attributes)


class Activation(Layer):
    """A function without weights: on its own, or taken along by the affine layer before it."""

    _activation = IDENTITY

    def __init__(self) -> None:
        super().__init__([])

    def forward(self, x: Any, out: Any = None) -> Any:
        """Apply the function to x.

        Parameters
        ----------
        x : array_like
            Of any shape. float32 and float64 run in a compiled kernel, which keeps the dtype; other
            dtypes go through the NumPy reference.
        out : ndarray, optional
            Where to put the result: of the result's shape and dtype, not overlapping x.

        Returns
        -------
        ndarray
            Of x's shape; NaN where x is NaN.

        Raises
        ------
        ValueError
            If `out` has another shape, is read-only or overlaps x.
        TypeError
            If `out` is no array of the result's dtype, or x is nothing that NumPy can compute with.
        """
        return fused.activate(self._activation, x, out)


class Sigmoid(Activation):
    """The logistic function of every element, 1 / (1 + exp(-x)), never outside [0, 1].

    Attributes
    ----------
    params : list
        Empty: there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Sigmoid
    >>> Sigmoid().forward(np.array([0.0, np.inf, -np.inf]))
    array([0.5, 1. , 0. ])
    """

    _activation = SIGMOID


class Tanh(Activation):
    """The hyperbolic tangent of every element, never outside [-1, 1].

    Attributes
    ----------
    params : list
        Empty: there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Tanh
    >>> Tanh().forward(np.array([0.0, np.inf, -np.inf]))
    array([ 0.,  1., -1.])
    """

    _activation = TANH


class ReLU(Activation):
    """The larger of every element and 0.

    Attributes
    ----------
    params : list
        Empty: there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import ReLU
    >>> ReLU().forward(np.array([2.5, -1.0, np.nan]))
    array([2.5, 0. , nan])
    """

    _activation = RELU


class Softmax(Activation):
    """exp(x) / sum(exp(x)) over the last axis: rows of positive numbers with sum 1.

    The largest element is subtracted first, so nothing overflows. A row with NaN or +inf in it, or with
    nothing but -inf, is NaN throughout.

    Attributes
    ----------
    params : list
        Empty: there is nothing to learn.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Softmax
    >>> Softmax().forward(np.array([[1.0, 1.0], [1000.0, -np.inf]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """

    _activation = SOFTMAX


#: layers that an Affine before them takes along
ACTIVATIONS = (Sigmoid, Tanh, ReLU, Softmax)


class Affine(Layer):
    """x @ W + b.

    Parameters
    ----------
    W : array_like
        Weights, of shape (fan_in, fan_out).
    b : array_like
        Biases, of shape (fan_out,), (1, fan_out) or a scalar.

    Attributes
    ----------
    params : list
        [W, b], the very objects. Entries may be edited in place or replaced; the next call sees it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Affine
    >>> Affine(np.eye(2), np.array([0.5, -0.5])).forward(np.array([[1.0, 2.0]]))
    array([[1.5, 1.5]])
    """

    _activation = IDENTITY

    def __init__(self, W: Any, b: Any) -> None:
        super().__init__([W, b])

    def forward(self, x: Any, out: Any = None) -> Any:
        """Apply the layer to x.

        Parameters
        ----------
        x : array_like
            Of shape (..., fan_in), usually (batch, fan_in).
        out : ndarray, optional
            Where to put the result: of the result's shape and dtype, overlapping none of x, W, b.

        Returns
        -------
        ndarray
            Of shape (..., fan_out) and the dtype that NumPy promotes x, W and b to.

        Raises
        ------
        ValueError
            If the shapes of x, W and b do not fit together; if `out` has another shape than the result,
            is read-only or overlaps an input.
        TypeError
            If NumPy has no matrix product for these types, or `out` is no array of the result's dtype.
        """
        known = self._shortcut
        if out is None and known is not None and type(x) is ndarray:
            result = known.run(x, known.dense)
            if result is not None:
                return result
        result = fused.chain([self.params], [self._activation], x, out)
        if out is None:
            self._shortcut = shortcut([self], [self], [self._activation], result)
        return result


class AffineSigmoid(Affine):
    """The logistic function of x @ W + b, in one kernel.

    Parameters
    ----------
    W : array_like
        Weights, of shape (fan_in, fan_out).
    b : array_like
        Biases, of shape (fan_out,), (1, fan_out) or a scalar.

    Attributes
    ----------
    params : list
        [W, b], the very objects. Entries may be edited in place or replaced; the next call sees it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import AffineSigmoid
    >>> AffineSigmoid(np.eye(2), np.zeros(2)).forward(np.array([[0.0, 800.0]]))
    array([[0.5, 1. ]])
    """

    _activation = SIGMOID
