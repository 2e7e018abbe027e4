"""Loading or compiling kernels ahead of the first call."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastnet import fused
from fastnet.arguments import KERNEL_DTYPES, plain_array


class Warmup(NamedTuple):
    """What `warmup` did for one dtype."""

    dtype: str
    #: "loaded from the cache", "compiled", "compiled without a cache", or "was there already"
    origin: str
    seconds: float


def warmup(model: Any = None) -> list[Warmup]:
    """Load the kernels from the cache, or compile them, so that no `predict` has to wait for it.

    One set of kernels serves all shapes and layers, so only the dtype matters.

    Parameters
    ----------
    model : network or layer, optional
        Whose dtypes to prepare for: that of its weights, for inputs no wider. Both float32 and float64
        unless given.

    Returns
    -------
    list of Warmup
        For each dtype its name, where the kernels came from, and the seconds it took. Empty if the kernels
        do nothing for this model.

    Raises
    ------
    TypeError
        If `model` has neither ``layers`` nor ``params``.

    Examples
    --------
    >>> import fastnet
    >>> [done.dtype for done in fastnet.warmup(fastnet.TwoLayerNet(2, 4, 3))]
    ['float64']
    """
    dtypes = list(KERNEL_DTYPES.values()) if model is None else _dtypes(model)
    return [_prepare(dtype) for dtype in dtypes]


def _prepare(dtype: np.dtype[Any]) -> Warmup:
    there, start = fused.is_loaded(dtype), perf_counter()
    compiled = fused.kernels(dtype)
    compiled.prepare()
    origin: str = compiled.origin
    return Warmup(dtype.name, "was there already" if there else origin, perf_counter() - start)


def _dtypes(model: Any) -> list[np.dtype[Any]]:
    layers = getattr(model, "layers", [model])
    if not all(hasattr(layer, "params") or hasattr(layer, "forward") for layer in layers):
        raise TypeError(f"a network or layer has layers or params; {type(model).__name__} has neither")
    arrays = [plain_array(p) for layer in layers for p in getattr(layer, "params", ())]
    found = {KERNEL_DTYPES.get(a.dtype.newbyteorder("=")) for a in arrays if a is not None and a.ndim}
    return sorted((dtype for dtype in found if dtype is not None), key=lambda dtype: dtype.itemsize)
