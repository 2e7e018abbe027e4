"""Networks inside other compiled code: the user's own Numba functions, and whatever calls C functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnet.arguments import KERNEL_DTYPES, as_kernel_array
from fastnet.steps import fused_steps


class _Chain(NamedTuple):
    """Layers that run as one: arrays that share the memory of the model's, and what follows each pair."""

    weights: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
    activations: tuple[int, ...]


def njit_predict(model: Any) -> tuple[Callable[..., None], Any]:
    """The network for functions under ``@numba.njit``: ``predict(x, params, out)``.

    Within compiled code a call takes tens of nanoseconds for a small network, needs no interpreter lock,
    and may be made from any number of threads, as in ``numba.prange``. It allocates nothing, unless a layer
    is so wide that two rows of it (with weights that are not row by row in memory, a vector's worth of rows)
    exceed 128 KB. Bits are those of `model.predict`, at any number of rows.

    The weights are arguments: nothing is compiled again for other arrays of the same kind, and an edit in
    place is seen by the next call. An array put in the place of another (``layer.params[0] = W``) is not
    among `params`: call `njit_predict` again, or say ``params.with_arrays([W1, b1, W2, b2])``.

    Parameters
    ----------
    model : network or layer
        All of its layers have to fuse: affine layers, each with one activation behind it or none. Weights
        are arrays of float32 or float64, all of the same dtype.

    Returns
    -------
    predict : function
        ``predict(x, params, out)``: x of shape (fan_in,) or (batch, fan_in), out of shape (fan_out,) or
        (batch, fan_out), both of the weights' dtype, in any layout, sharing no memory. The same function
        for all networks. Shapes that do not fit, or an `out` that overlaps x or weights, are a ValueError
        before anything is read or written; wrong types a numba.TypingError when the caller is compiled.
    params : Params
        A tuple of the arrays W1, b1, W2, b2, ... and, last, of the program that tells compiled code what to
        do with them. Pass it to the compiled function as an argument; as a global variable it is refused,
        as its contents would be frozen into the code. It may be pickled.

    Raises
    ------
    TypeError
        If a layer does not fuse, or weights are no arrays of one dtype, float32 or float64.
    ValueError
        If shapes of weights do not fit together, or a bias is not contiguous.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import njit
    >>> import fastnet
    >>> net = fastnet.TwoLayerNet(2, 4, 2)
    >>> predict, params = fastnet.njit_predict(net)
    >>> @njit
    ... def iterate(x, params, steps):
    ...     y = np.empty_like(x)
    ...     for _ in range(steps):
    ...         predict(x, params, y)
    ...         x, y = y, x
    ...     return x
    >>> x = np.array([0.5, -0.5])
    >>> bool((iterate(x.copy(), params, 2) == net.predict(net.predict(x))).all())
    True
    """
    chain = _chain_of(model)
    from fastnet.kernels import inline, params

    arrays = [array for pair in chain.weights for array in pair]
    return inline.predict, params.make_params(arrays, chain.activations)


#: form -> signature in C; T is float or double, as the weights are
_FORMS = {
    "integrand": "double (int n, double *x, void *user_data)",
    "filter": "int (double *x, npy_intp n, double *out, void *user_data)",
    "row": "int (T *x, T *out, void *user_data)",
}


class CFunction:
    """A network as a C function. It keeps the weights alive; edits of them in place are seen.

    Attributes
    ----------
    signature : str
        In C.
    ctypes : ctypes function pointer
        To call from Python, or to hand on.
    address : int
        Of the function.
    user_data : ctypes.c_void_p
        What the function needs as its last argument. As long as it lives, so do the weights.
    """

    def __init__(self, function: Any, signature: str, user_data: ctypes.c_void_p) -> None:
        self.ctypes = function
        self.address = ctypes.cast(function, ctypes.c_void_p).value
        self.signature = signature
        self.user_data = user_data

    def low_level_callable(self) -> Any:
        """For SciPy's integrators and filters.

        Returns
        -------
        scipy.LowLevelCallable
            With function and user data; it keeps the weights alive.

        Raises
        ------
        ImportError
            If SciPy is not installed.
        """
        try:
            from scipy import LowLevelCallable  # type: ignore[import-untyped,unused-ignore]
        except ImportError as error:
            raise ImportError('LowLevelCallable is part of SciPy: python -m pip install "scipy"') from error
        return LowLevelCallable(self.ctypes, self.user_data)

    def __repr__(self) -> str:
        return f"<CFunction {self.signature} at {self.address:#x}>"


def cfunc_predict(model: Any, form: str = "integrand", output: int = 0) -> CFunction:
    """The network as a C function of one row, for SciPy's LowLevelCallable, ctypes or any C code.

    It needs no interpreter lock and allocates nothing; any number of threads may call it at once.

    Parameters
    ----------
    model : network or layer
        As for `njit_predict`.
    form : str, optional
        "integrand", for scipy.integrate: ``double (int n, double *x, void *user_data)``, NaN unless n is
        the width of x. "filter", for scipy.ndimage.generic_filter:
        ``int (double *x, npy_intp n, double *out, void *user_data)``, 1 if done, 0 if n is not the width
        of x. "row": ``int (T *x, T *out, void *user_data)``, T the dtype of the weights, out a whole row;
        always 0. A float32 network rounds the doubles that it is given.
    output : int, optional
        Which of the outputs the first two forms give.

    Returns
    -------
    CFunction
        The function, its address, and the user data that it has to be called with.

    Raises
    ------
    TypeError
        As for `njit_predict`.
    ValueError
        As for `njit_predict`; if there is no such form or output; if the network is deeper than 64 layers,
        or too wide for the stack.

    Examples
    --------
    >>> import ctypes
    >>> import numpy as np
    >>> import fastnet
    >>> net = fastnet.TwoLayerNet(2, 4, 1)
    >>> f = fastnet.cfunc_predict(net)
    >>> f.signature
    'double (int n, double *x, void *user_data)'
    >>> row = (ctypes.c_double * 2)(0.5, -0.5)
    >>> bool(f.ctypes(2, row, f.user_data) == net.predict(np.array([0.5, -0.5]))[0])
    True
    """
    if form not in _FORMS:
        raise ValueError(f"form must be one of {', '.join(_FORMS)}, not {form!r}")
    chain = _chain_of(model)
    first, last = chain.weights[0][0], chain.weights[-1][0]
    width, outputs, dtype = first.shape[0], last.shape[1], first.dtype
    from fastnet.kernels import callbacks

    if len(chain.weights) > callbacks.MAX_DEPTH:
        raise ValueError(f"a C function has at most {callbacks.MAX_DEPTH} layers, not {len(chain.weights)}")
    if form != "row":
        if not 0 <= output < outputs:
            raise ValueError(f"output must be in 0..{outputs - 1}, not {output}")
        most = callbacks.ROOM // dtype.itemsize
        if outputs > most or (dtype == np.float32 and width > most):
            raise ValueError(f"this form takes rows of at most {most} {dtype}, not {width} and {outputs}")
    block = callbacks.make_block(chain.weights, chain.activations, output)
    user_data = ctypes.c_void_p(block.ctypes.data)
    user_data.keep = (block, chain.weights)  # type: ignore[attr-defined]
    *others, row = (function.ctypes for function in callbacks.callbacks(dtype))
    x, out = np.zeros(width, dtype), np.zeros(outputs, dtype)
    pointers = (ctypes.cast(a.ctypes.data, row.argtypes[0]) for a in (x, out))
    if row(*pointers, user_data) != 0:
        raise ValueError(f"layers of shapes {[w.shape for w, _ in chain.weights]} are too wide for the stack")
    function = {**dict(zip(_FORMS, others, strict=False)), "row": row}[form]
    element = "float" if dtype == np.float32 else "double"
    return CFunction(function, _FORMS[form].replace("T *", f"{element} *"), user_data)


def _chain_of(model: Any) -> _Chain:
    layers = list(getattr(model, "layers", [model]))
    if not layers:
        raise TypeError(f"{type(model).__name__} has no layers")
    for i, layer in enumerate(layers):
        if not fused_steps(layers[: i + 1]):
            raise TypeError(
                f"layer {i} ({type(layer).__name__}) does not fuse: only affine layers do, "
                "each with one of fastnet's activations behind it or none"
            )
    steps = fused_steps(layers)
    weights = [_arrays(i, layer.params) for i, (layer, _) in enumerate(steps)]
    dtype = weights[0][0].dtype
    for i, (W, b) in enumerate(weights):
        for name, array in (("W", W), ("b", b)):
            if array.dtype != dtype:
                raise TypeError(
                    f"{name} of affine layer {i} has dtype {array.dtype}, but W of layer 0 has {dtype}"
                )
        if i > 0 and W.shape[0] != weights[i - 1][0].shape[1]:
            raise ValueError(
                f"W of affine layer {i} has shape {W.shape}, but {weights[i - 1][0].shape[1]} values come in"
            )
    return _Chain(weights, tuple(activation for _, activation in steps))


def _arrays(i: int, params: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """[W, b] as arrays that share their memory, b one-dimensional."""
    arrays = []
    for name, value in zip(("W", "b"), params, strict=True):
        dtype = KERNEL_DTYPES.get(value.dtype) if type(value) in (np.ndarray, np.memmap) else None
        if dtype is None:
            kind = (
                f"dtype {value.dtype}" if isinstance(value, np.ndarray) else f"class {type(value).__name__}"
            )
            raise TypeError(
                f"{name} of affine layer {i} must be an array of float32 or float64, not of {kind}"
            )
        arrays.append(as_kernel_array(value, dtype))
    W, b = arrays
    if W.ndim != 2 or b.shape not in ((W.shape[1],), (1, W.shape[1])):
        raise ValueError(
            f"W of affine layer {i} has shape {W.shape} and b {b.shape}; "
            "they must be (fan_in, fan_out) and (fan_out,) or (1, fan_out)"
        )
    b = b.reshape(-1) if b.ndim == 2 else b
    if b.size > 1 and b.strides[0] != b.itemsize:
        raise ValueError(f"b of affine layer {i}, of strides {b.strides}, must be contiguous: use b.copy()")
    return W, b
