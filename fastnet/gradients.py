"""Gradients of one layer: what a user passes in, checked; then compiled, or as the reference has it.

Whatever is wrong is found before an array of gradients is written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnet import backprop, reference
from fastnet.arguments import KERNEL_DTYPES, as_kernel_array, plain_array
from fastnet.fused import TWINS, named
from fastnet.kernels.table import SOFTMAX

Array = np.ndarray[Any, Any]


def check_grads(params: Sequence[Any], grads: Sequence[Any]) -> None:
    """Raise unless every parameter has an array of gradients of its shape that can be written to."""
    if len(grads) != len(params):
        raise ValueError(f"there are {len(params)} params, but {len(grads)} grads")
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        if not isinstance(g, np.ndarray):
            raise TypeError(f"grads[{i}] must be an ndarray, not {type(g).__name__}")
        if g.shape != np.shape(p):
            raise ValueError(f"grads[{i}] has shape {g.shape}, but params[{i}] has shape {np.shape(p)}")
        if not g.flags.writeable:
            raise ValueError(f"grads[{i}] of shape {g.shape} is read-only")


def affine(params: list[Any], grads: list[Any], x: Any, dout: Any) -> Any:
    """Gradient of the input of ``x @ W + b``; those of W and b go into `grads`.

    Parameters
    ----------
    params : list
        [W, b].
    grads : list of ndarray
        [dW, db], written in place.
    x : array_like
        What `forward` was given.
    dout : array_like
        Gradient of the result, of its shape.

    Returns
    -------
    ndarray
        Of x's shape.
    """
    try:
        (W, _), (dW, db) = params, grads
        dtype = x.dtype
        dx = np.empty(x.shape, dtype)
        known = backprop.compiled[dtype]
        known.affine(dout, x, W, dx, dW, db, known.table)
        return dx
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # refused, perhaps as arrays overlap, and nothing written; or not compiled yet
    return _affine(params, grads, x, dout)


def _affine(params: list[Any], grads: list[Any], x: Any, dout: Any) -> Any:
    """The way for all shapes, layouts and dtypes."""
    if len(params) != 2:
        raise ValueError(f"params must be [W, b], not {len(params)} arrays")
    check_grads(params, grads)
    rows, douts, W, b = (plain_array(value) for value in (x, dout, *params))
    if rows is None or douts is None or W is None or b is None:
        return _affine_by_reference(params, grads, x, dout)
    if W.ndim != 2 or not rows.ndim or rows.shape[-1] != W.shape[0]:
        raise ValueError(f"x of shape {rows.shape} does not fit W of shape {W.shape}: forward comes first")
    lead = (1,) if rows.ndim == 1 and b.ndim == 2 else rows.shape[:-1]
    check_dout(douts, (*lead, W.shape[1]), x)
    dtype = KERNEL_DTYPES.get(np.result_type(rows, douts, W, b).newbyteorder("="))
    if dtype is None or b.size not in (1, W.shape[1]):
        return _affine_by_reference(params, grads, x, dout)
    count = int(np.prod(rows.shape[:-1]))
    dx, dW, db = np.empty((count, W.shape[0]), dtype), np.empty(W.shape, dtype), np.empty(W.shape[1], dtype)
    flat, flat_out = _rows(rows, count, dtype), _rows(douts, count, dtype)
    backprop.affine_backward(flat_out, flat, _rows(W, len(W), dtype), dx, dW, db)
    total = db if b.size == W.shape[1] else np.cumsum(db)[-1:] if len(db) else np.zeros(1, dtype)
    _store(grads, [dW, total.reshape(np.shape(b))])
    return dx.reshape(rows.shape)


def _store(grads: list[Any], found: list[Any]) -> None:
    for i, (g, value) in enumerate(zip(grads, found, strict=True)):
        if not np.can_cast(value.dtype, g.dtype, "same_kind"):
            raise TypeError(f"grads[{i}] has dtype {g.dtype}, but the gradient has dtype {value.dtype}")
    for g, value in zip(grads, found, strict=True):
        g[...] = value


def _rows(array: Array, count: int, dtype: np.dtype[Any]) -> Array:
    """The array as (count, width), contiguous and aligned: a copy if need be."""
    width = array.shape[-1]
    return np.require(as_kernel_array(array, dtype).reshape(count, width), requirements=["C", "A"])


def check_dout(dout: Any, shape: tuple[int, ...], x: Any) -> None:
    """Raise unless dout has the shape of what forward gave."""
    if np.shape(dout) != shape:
        raise ValueError(
            f"dout has shape {np.shape(dout)}, but forward of x of shape {np.shape(x)} gave shape {shape}"
        )


def _affine_by_reference(params: list[Any], grads: list[Any], x: Any, dout: Any) -> Any:
    twin = reference.Affine.__new__(reference.Affine)
    twin.params, twin.x = params, x
    dtype = np.result_type(*map(np.asarray, (x, dout, *params)))
    twin.grads = [np.zeros(g.shape, dtype) for g in grads]
    try:
        with np.errstate(all="ignore"):
            check_dout(dout, np.shape(np.matmul(x, params[0])), x)
            dx = twin.backward(dout)
    except Exception as error:
        raise named(error, params, x) from error
    _store(grads, twin.grads)
    return dx


def activation(code: int, y: Any, dout: Any, into: Any = None) -> Any:
    """Gradient of the input of an activation that gave y.

    Parameters
    ----------
    code : int
        Which one: a number of `TWINS`.
    y : ndarray
        What `forward` returned.
    dout : array_like
        Gradient of y, of its shape.
    into : ndarray, optional
        What may be overwritten with the result: `dout` itself, if nobody else has it.

    Returns
    -------
    ndarray
        Of y's shape.
    """
    try:
        dz = np.empty(y.shape, y.dtype) if into is None else into
        known = backprop.compiled[y.dtype]
        known.activation(code, dout, y, dz, known.table)
        return dz
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # refused, and nothing written; or not compiled yet
    check_dout(dout, np.shape(y), y)
    ys, douts = plain_array(y), plain_array(dout)
    dtype = None if ys is None or douts is None else KERNEL_DTYPES.get(np.result_type(ys, douts))
    if ys is None or douts is None or dtype is None or not ys.ndim:
        twin = TWINS[code]()
        twin.out = y
        with np.errstate(all="ignore"):
            return twin.backward(np.asarray(dout) if isinstance(dout, (list, tuple)) else dout)
    width = ys.shape[-1] if code == SOFTMAX else ys.size
    count = ys.size // width if width else 0
    dz = np.empty((count, width), dtype)
    backprop.activation_backward(
        code,
        _rows(douts.reshape(count, width), count, dtype),
        _rows(ys.reshape(count, width), count, dtype),
        dz,
    )
    return dz.reshape(ys.shape)
