"""Runs of affine layers as one compiled call, and what is done where the kernels do not apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnet import reference
from fastnet.arguments import KERNEL_DTYPES, Holder, as_kernel_array, check_out, plain_array, prepare
from fastnet.kernels.lock import undisturbed
from fastnet.kernels.table import IDENTITY, RELU, SIGMOID, SOFTMAX, TANH
from fastnet.threads import in_pieces, lock_held, strip_threads, together

#: activation -> its twin in the reference
TWINS: dict[int, type[Any]] = {
    SIGMOID: reference.Sigmoid,
    TANH: reference.Tanh,
    RELU: reference.ReLU,
    SOFTMAX: reference.Softmax,
}

#: strips of columns for each thread that shares them, and for so few rows: memory likes longer pieces of rows
_STRIPS, _STRIPS_OF_FEW, _FEW = 2, 1, 24

_compiled: dict[np.dtype[Any], Any] = {}


def is_loaded(dtype: np.dtype[Any]) -> bool:
    """Whether this process has the kernels for a dtype."""
    return dtype in _compiled


def kernels(dtype: np.dtype[Any]) -> Any:
    """Compiled entry points for float32 or float64. Numba is imported by the first call, not before."""
    found = _compiled.get(dtype)
    if found is None:

        def find() -> Any:  # the import, too: a fork meanwhile would leave the child half of it
            from fastnet.kernels.entries import entries

            found = entries(dtype)
            found.lock_held = lock_held()
            return found

        found = _compiled[dtype] = undisturbed(find)
    return found


def run_large(compiled: Any, x: Any, out: Any, layers: list[Any], program: bytes) -> bool:
    """Run a call that the kernels found large, on all threads that pay; False if it is refused."""
    try:  # arrays that another thread takes out of a layer meanwhile have to outlive the call
        held = [Holder([*layer.params]) for layer in layers]
    except TypeError:
        return False
    table = compiled.new_table()
    work = compiled.bind(x, out, held, program, table)
    if work < 0:
        return False

    rows, work = len(x) if x.ndim == 2 else 1, work * x.itemsize
    threads = strip_threads(rows, work)
    answer = -1
    while answer != 0:
        if threads > 1 and out.strides[-1] == out.itemsize:
            count = threads * (_STRIPS if rows > _FEW else _STRIPS_OF_FEW)
            context = compiled.strips(table, rows, max(layer.params[1].size for layer in held), count)
            answer = together(compiled.run_strips, context, threads, 1, threads)
        else:
            answer = in_pieces(compiled.run, table, rows, work)
        if answer != 0:
            compiled.supply(table, answer)
    return True


def _run(compiled: Any, x: Any, out: Any, layers: list[Any], activations: Sequence[int]) -> None:
    """Run a network on arrays that have been prepared; kernels that it is the first to use come in now."""
    answer: Any = ""
    while isinstance(answer, str):
        if answer:
            compiled.complete(answer)
        program = compiled.program(activations)
        recipe = compiled.recipe(layers, program, layers, True, compiled.lacking)
        answer = compiled.predict(x, out, layers, recipe)
    if answer is not out and not (answer is False and run_large(compiled, x, out, layers, program)):
        raise RuntimeError(f"kernels refused arrays of shape {x.shape} and {out.shape}")


def chain(pairs: Sequence[Any], activations: Sequence[int], x: Any, out: Any = None) -> Any:
    """Affine layers one after the other, each with its activation.

    Parameters
    ----------
    pairs : sequence of lists
        ``params``, that is [W, b], of each layer.
    activations : sequence of int
        What follows each layer: `IDENTITY` or one of `TWINS`.
    x : array_like
        As the reference takes it.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray
        As the reference gives it.
    """
    ready = prepare(pairs, x)
    if ready is None:
        y = x
        for pair, activation in zip(pairs, activations, strict=True):
            alone = len(pairs) == 1
            y = _layer_by_reference(pair, activation, y) if alone else chain([pair], [activation], y)
        return _put(y, out, [x, *_members(pairs)])
    if out is None:
        out = plain = np.empty(ready.shape, ready.dtype)
    else:
        plain = check_out(out, ready.shape, ready.dtype, [x, *_members(pairs)])
    compiled = kernels(ready.dtype)
    rows, width = ready.x.shape[0], ready.shape[-1]
    target = _as_rows(plain, rows, width, ready.dtype)
    current = ready.x
    limit = compiled.max_depth  # of one compiled call
    for start in range(0, len(pairs), limit):
        stop = min(start + limit, len(pairs))
        layers = ready.layers[start:stop]
        into = target if stop == len(pairs) else np.empty((rows, len(layers[-1].params[1])), ready.dtype)
        _run(compiled, current, into, layers, activations[start:stop])
        current = into
    if not np.may_share_memory(target, plain):
        plain[...] = target.reshape(plain.shape)
    return out


def activate(activation: int, x: Any, out: Any = None) -> Any:
    """An activation alone, as `chain` treats its arguments."""
    if out is None and type(x) is np.ndarray and x.dtype in _compiled and x.flags.c_contiguous and x.ndim:
        out = np.empty(x.shape, x.dtype)
        _compiled[x.dtype].activate(x.reshape(-1), out.reshape(-1), activation, x.shape[-1])
        return out
    array = None if isinstance(x, (list, tuple)) else plain_array(x)
    dtype = None if array is None else KERNEL_DTYPES.get(array.dtype.newbyteorder("="))
    if array is None or dtype is None:
        return _put(_by_reference(TWINS[activation](), None, x), out, [x])
    result = np.empty(array.shape, dtype) if out is None else check_out(out, array.shape, dtype, [x])
    flat = as_kernel_array(array, dtype).reshape(-1)
    target = _as_rows(result, 1, array.size, dtype)
    if target.strides[1] != target.itemsize or flat.strides[0] != flat.itemsize:
        flat, target = np.ascontiguousarray(flat), np.empty((1, array.size), dtype)
    width = array.shape[-1] if array.ndim else 1
    kernels(dtype).activate(flat, target.reshape(-1), activation, width)
    if not np.may_share_memory(target, result):
        result[...] = target.reshape(result.shape)
    if out is not None:
        return out
    return result[()] if array.ndim == 0 else result


def _as_rows(out: np.ndarray[Any, Any], rows: int, width: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A view of `out` as (rows, width), or a new array of that shape where there is no such view."""
    return (out if out.dtype is dtype else out.view(dtype)).reshape(rows, width)


def _members(pairs: Sequence[Any]) -> list[Any]:
    return [p for pair in pairs if isinstance(pair, (list, tuple)) for p in pair]


def _layer_by_reference(pair: Any, activation: int, x: Any) -> Any:
    layer = reference.Affine.__new__(reference.Affine)  # it has no use for arrays of gradients
    layer.params = pair
    y = _by_reference(layer, pair, x)
    return y if activation == IDENTITY else _by_reference(TWINS[activation](), None, y)


def _by_reference(layer: Any, pair: Any, x: Any) -> Any:
    """A layer of the reference: right for whatever NumPy takes, if not fast."""
    try:
        with np.errstate(all="ignore"):
            y = layer.forward(x)
    except Exception as error:
        raise named(error, pair, x) from error
    return np.ascontiguousarray(y) if type(y) is np.ndarray and y.ndim else y


def _put(y: Any, out: Any, inputs: list[Any]) -> Any:
    """The result, or `out` filled with it."""
    if out is None:
        return y
    check_out(out, np.shape(y), np.asarray(y).dtype, inputs)[...] = y
    return out


def named(error: Exception, pair: Any, x: Any) -> Exception:
    """The same exception, its message naming the shapes."""
    names = ("W", "b") if isinstance(pair, (list, tuple)) and len(pair) == 2 else ()
    parts = [_described("x", x), *(_described(n, p) for n, p in zip(names, pair or (), strict=False))]
    text = f"{error}\n({', '.join(parts)})"
    if type(error) in (ValueError, TypeError):
        return type(error)(text)
    error.add_note(text)
    return error


def _described(name: str, value: Any) -> str:
    try:
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        return f"{name} of shape {array.shape} and dtype {array.dtype}"
    except Exception:  # the value refuses even that: its class has to do
        return f"{name} of class {type(value).__name__}"
