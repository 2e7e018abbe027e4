"""Predictions over a dask array: chunks of rows on the threads, processes or machines of dask's scheduler."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.threads import limited

if TYPE_CHECKING:
    import dask.array

__all__ = ["predict"]


def predict(
    model: Any, x: dask.array.Array, *, threads: int | None = 1, method: str = "predict"
) -> dask.array.Array:
    """Feed a dask array of rows through a model, lazily.

    Each chunk of rows is a task, and its result has the same bits as a local `predict` over all rows. The
    model is one object of the graph that the tasks refer to: a distributed worker receives it once.

    Parameters
    ----------
    model : network
        Anything with ``predict(x)`` that maps (rows, fan_in) to (rows, fan_out), or to (rows,), as labels
        are. It is copied as it is now: what happens to its weights afterwards does not reach the result.
    x : dask.array.Array
        Of shape (..., fan_in), chunks of NumPy arrays. Rows may be of unknown number; columns in several
        chunks are brought into one.
    threads : int or None, optional
        How many threads a task may use. One, unless given: the scheduler runs a task for each CPU already.
        None leaves it to the worker's settings (`fastnet.set_num_threads`, FASTNET_NUM_THREADS).
    method : str, optional
        What of the model to call, where it has more to offer: "predict_proba" of a classifier.

    Returns
    -------
    dask.array.Array
        Of the dtype that ``model.predict`` gives for x's, chunks of rows as in x, columns in one chunk.

    Raises
    ------
    ImportError
        If dask is missing: ``pip install "fastnet[dask]"``.
    TypeError
        If x is no dask array, its chunks are no plain NumPy arrays, or the model does not take its dtype.
    ValueError
        If x has another number of columns than the model takes, or `threads` is less than 1.

    Examples
    --------
    >>> import dask.array as da
    >>> import fastnet.dask
    >>> net = fastnet.TwoLayerNet(2, 4, 3)
    >>> x = da.random.standard_normal((1000, 2), chunks=(300, 2))
    >>> scores = fastnet.dask.predict(net, x)
    >>> scores.shape, scores.chunks[0], scores.dtype
    ((1000, 3), (300, 300, 300, 100), dtype('float64'))
    >>> bool((scores == net.predict(x.compute())).all())
    True
    """
    try:
        import dask.array as da
        from dask.delayed import delayed
    except ImportError as error:
        raise ImportError(f'{error}: fastnet.dask needs dask: pip install "fastnet[dask]"') from error
    if not isinstance(x, da.Array):
        raise TypeError(f"x must be a dask array, not {type(x).__name__}")
    if type(x._meta) is not np.ndarray:
        raise TypeError(f"chunks of x must be plain NumPy arrays, not {type(x._meta).__name__}")
    if x.ndim < 2 or np.isnan(x.shape[-1]):
        raise ValueError(f"x has shape {x.shape}, but rows of a known number of columns are needed")
    with limited(threads):  # raises before there is a graph
        like = getattr(model, method)(np.zeros((1,) * (x.ndim - 1) + x.shape[-1:], x.dtype))
    lost = x.ndim - like.ndim  # 1 if there is a label a row instead of columns
    columns = ((like.shape[-1],),) if lost == 0 else ()
    return da.map_blocks(
        _predict_chunk,
        x.rechunk({x.ndim - 1: -1}),
        model=delayed(copy.deepcopy(model), traverse=False),
        threads=threads,
        method=method,
        dtype=like.dtype,
        chunks=x.chunks[:-1] + columns,
        drop_axis=[x.ndim - 1] * lost,
        meta=np.empty((0,) * like.ndim, like.dtype),
    )


def _predict_chunk(chunk: Any, model: Any, threads: int | None, method: str) -> Any:
    with limited(threads):
        return getattr(model, method)(chunk)
