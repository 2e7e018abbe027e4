"""Layers: a list ``params``, a list ``grads``, methods ``forward(x)`` and ``backward(dout)`` each."""

from __future__ import annotations

from typing import Any

from fastnet import fused, gradients
from fastnet.kernels.table import IDENTITY, RELU, SIGMOID, SOFTMAX, TANH
from fastnet.layer import Layer
from fastnet.shortcut import shortcut


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
        self._memory[0] = y = fused.activate(self._activation, x, out)
        return y

    def backward(self, dout: Any) -> Any:
        """Gradient of the loss with respect to what `forward` was last given.

        Parameters
        ----------
        dout : array_like
            Gradient of the loss with respect to what `forward` returned, of its shape.

        Returns
        -------
        ndarray
            Of x's shape.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        ValueError
            If `dout` has another shape than the result of `forward`.
        """
        return gradients.activation(self._activation, self._remembered(), dout)


class Sigmoid(Activation):
    """The logistic function of every element, 1 / (1 + exp(-x)), never outside [0, 1].

    Attributes
    ----------
    params : list
        Empty: there is nothing to learn.
    grads : list
        Empty.

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
    grads : list
        Empty.

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
    grads : list
        Empty.

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
    grads : list
        Empty.

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
    grads : list of ndarray
        Gradients of W and b, of their shapes. `backward` writes them in place: the arrays stay the same.

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
        if known is not None:
            result = known.call(x, out, known.dense, known.recipe)
            if result is False:
                result = known.run_large(x, out)
            if result is not None:
                self._memory[0] = (x, result) if self._activation else x
                return result
        result = fused.chain([self.params], [self._activation], x, out)
        self._shortcut = shortcut([self], [self], [self._activation], result)
        self._memory[0] = (x, result) if self._activation else x
        return result

    def backward(self, dout: Any) -> Any:
        """Gradient of the loss with respect to what `forward` was last given; those of W and b go to `grads`.

        Parameters
        ----------
        dout : array_like
            Gradient of the loss with respect to what `forward` returned, of its shape.

        Returns
        -------
        ndarray
            Of x's shape. W is read as it is now, not as it was in `forward`.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        ValueError
            If `dout` has another shape than the result of `forward`; if an array of `grads` is read-only or
            has another shape than its parameter. No gradient has been written to then.
        """
        x = self._memory[0]
        if x is None or self._activation:
            x, y = self._remembered()
            dout = gradients.activation(self._activation, y, dout)
        return gradients.affine(self.params, self.grads, x, dout)


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
    grads : list of ndarray
        Gradients of W and b, of their shapes. `backward` writes them in place: the arrays stay the same.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import AffineSigmoid
    >>> AffineSigmoid(np.eye(2), np.zeros(2)).forward(np.array([[0.0, 800.0]]))
    array([[0.5, 1. ]])
    """

    _activation = SIGMOID
