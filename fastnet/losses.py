"""Losses: ``forward(x, t)`` is the loss of scores x for targets t, ``backward()`` its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnet import backprop, reference
from fastnet.arguments import KERNEL_DTYPES, as_kernel_array, plain_array

Array = np.ndarray[Any, Any]
INT64 = np.dtype(np.int64)
_SHAPE = "x must be of shape (batch, outputs), with at least one row, not {}"


class Loss:
    """What the losses share: arguments checked, then compiled or as the reference has it.

    Attributes
    ----------
    params, grads : list
        Empty.
    """

    #: its class in the reference
    _twin: type[Any]

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.grads: list[Any] = []
        self._buffers: list[Any] = [None, None]  # for the compiled call: outputs of x's shape, the gradient
        self._memory: Any = None  # the gradient, or the twin that has it

    def forward(self, x: Any, t: Any) -> Any:
        """The loss.

        Parameters
        ----------
        x : array_like
            What the last layer gives, of shape (batch, outputs).
        t : array_like
            The targets; the class says in which form.

        Returns
        -------
        float
            The loss; in the dtype of x where that is neither float32 nor float64.

        Raises
        ------
        ValueError
            If t does not fit x, if the batch is empty, or if the loss is NaN. `backward` needs another
            `forward` then.
        TypeError
            If t is nothing that NumPy can compute with.
        """
        self._memory = None
        try:
            loss = self._compiled(x, t)
        except (AttributeError, TypeError, ValueError):  # refused, perhaps for the shape of the buffers alone
            loss = self._convert(x, t)
        if loss != loss:
            raise ValueError(_why(x, t))
        if self._memory is None:
            self._memory = self._buffers[1]
        return loss

    def backward(self, dout: Any = 1) -> Any:
        """The gradient of the loss with respect to x.

        Parameters
        ----------
        dout : float, optional
            What the gradient is multiplied by: that of something with respect to the loss.

        Returns
        -------
        ndarray
            Of x's shape.

        Raises
        ------
        RuntimeError
            If there has been no `forward`, or the last one failed.
        """
        memory = self._memory
        if memory is None:
            raise RuntimeError(
                f"backward of {type(self).__name__} before forward: there is no loss to go back from"
            )
        if type(memory) is np.ndarray:
            return memory.copy() if type(dout) is int and dout == 1 else memory * self._scale(dout)
        with np.errstate(all="ignore"):
            return memory.backward(dout)

    def _scale(self, dout: Any) -> Any:
        if np.ndim(dout) != 0:
            raise ValueError(f"dout must be a number, as the loss is, not of shape {np.shape(dout)}")
        return np.asarray(dout, self._memory.dtype)

    def _convert(self, x: Any, t: Any) -> Any:
        """The way for what the compiled call refuses."""
        array, shape = plain_array(x), np.shape(x)
        if len(shape) != 2 or not shape[0]:
            raise ValueError(_SHAPE.format(shape))
        dtype = None if array is None else KERNEL_DTYPES.get(np.multiply(array[:0], 1.0).dtype)
        if array is None or dtype is None:
            twin = self._twin()
            with np.errstate(all="ignore"):
                loss = twin.forward(x, self._target(np.asarray(x), t))
            self._memory = twin
            return loss
        ready = np.require(as_kernel_array(array, dtype), requirements=["C", "A", "W"])
        target = self._target(ready, t)
        self._buffers = [np.empty(shape, dtype), np.empty(shape, dtype)]
        return self._compiled(ready, target)

    def _target(self, x: Array, t: Any) -> Any:
        """t in the form that `_compiled` takes, or ValueError."""
        array = np.asarray(t)
        if array.shape == x.shape[:1] and x.shape[1] == 1:
            array = array.reshape(x.shape)
        if array.shape != x.shape:
            raise ValueError(f"t has shape {array.shape}, but x has shape {x.shape}")
        return _numbers(array, x.dtype)

    def _compiled(self, x: Array, t: Array) -> float:
        """The loss, and the gradient in the second buffer; refused if anything does not fit."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_buffers": [None, None], "_memory": None}


def _cast(t: Array, dtype: np.dtype[Any]) -> Array:
    return t if t.dtype is dtype else t.astype(dtype, "C", "same_kind")


def _numbers(t: Array, dtype: np.dtype[Any]) -> Array:
    if t.dtype.kind not in "biuf":
        raise TypeError(f"t must hold real numbers, not {t.dtype}")
    return np.require(np.asarray(t, dtype), requirements=["C", "A"])


def _why(x: Any, t: Any) -> str:
    """What is wrong with a loss of NaN."""
    if not len(x):
        return _SHAPE.format(np.shape(x))
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
    if len(bad):
        return f"the loss is NaN: row {bad[0]} of x, of shape {np.shape(x)}, is {np.asarray(x)[bad[0]]}"
    return f"the loss is NaN, from x of shape {np.shape(x)} and t of shape {np.shape(t)}"


class SoftmaxWithLoss(Loss):
    """Mean cross-entropy of softmax(x).

    t holds the class of each row, whole numbers of shape (batch,); or a row of probabilities for each, of
    x's shape, one-hot or any that sum up to 1. The logarithm is that of the sum of the exponentials, never
    that of 0, so nothing is added to it; the book adds 1e-7 to each probability.

    Attributes
    ----------
    params, grads : list
        Empty.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import SoftmaxWithLoss
    >>> loss = SoftmaxWithLoss()
    >>> round(loss.forward(np.log([[0.5, 0.25, 0.25]]), np.array([0])), 6)  # -log(0.5)
    0.693147
    >>> loss.backward().round(6)
    array([[-0.5 ,  0.25,  0.25]])
    """

    _twin = reference.SoftmaxWithLoss

    def _target(self, x: Array, t: Any) -> Any:
        array = np.asarray(t)
        if array.shape == x.shape:
            return super()._target(x, array)
        if array.shape != x.shape[:1]:
            raise ValueError(
                f"t must be of shape {x.shape[:1]}, classes, or {x.shape}, probabilities, not {array.shape}"
            )
        if array.dtype.kind not in "iu":
            raise TypeError(f"classes must be whole numbers, not {array.dtype}")
        wrong = np.flatnonzero((array < 0) | (array >= x.shape[1]))
        if len(wrong):
            raise ValueError(
                f"t[{wrong[0]}] is {array[wrong[0]]}, but x of shape {x.shape} has {x.shape[1]} classes"
            )
        return np.require(array.astype(np.int64), requirements=["C", "A"])

    def _compiled(self, x: Array, t: Array) -> float:
        y, dz = self._buffers
        if t.ndim == 1:
            if t.dtype is not INT64:
                t = t.astype(INT64, casting="same_kind")
            return backprop.softmax_cross_entropy(x, t, y, dz)
        dtype = x.dtype
        if t.dtype is not dtype:
            t = t.astype(dtype, "C", "same_kind")
        return backprop.softmax_cross_entropy_dense(x, t, y, dz)


class SigmoidWithLoss(Loss):
    """Cross-entropy of sigmoid(x) and t: summed over the outputs, the mean over the rows.

    t has x's shape, and is 0 or 1, or a probability. A network of one output may have t of shape (batch,).

    Attributes
    ----------
    params, grads : list
        Empty.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import SigmoidWithLoss
    >>> loss = SigmoidWithLoss()
    >>> round(loss.forward(np.array([[0.0]]), np.array([[1]])), 6)  # log(2)
    0.693147
    >>> loss.backward()
    array([[-0.5]])
    """

    _twin = reference.SigmoidWithLoss

    def _compiled(self, x: Array, t: Array) -> float:
        return backprop.sigmoid_cross_entropy(x, _cast(t, x.dtype), *self._buffers)


class MeanSquaredError(Loss):
    """The mean of (x - t) ** 2 over all elements, t of x's shape.

    A network of one output may have t of shape (batch,).

    Attributes
    ----------
    params, grads : list
        Empty.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import MeanSquaredError
    >>> loss = MeanSquaredError()
    >>> loss.forward(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]))
    2.0
    >>> loss.backward()
    array([[ 0., -2.]])
    """

    _twin = reference.MeanSquaredError

    def _compiled(self, x: Array, t: Array) -> float:
        dz = self._buffers[1]
        if dz is None:  # the compiled call would leave the gradient out
            raise TypeError("no buffer yet")
        return backprop.squared_error(x, _cast(t, x.dtype), dz)
