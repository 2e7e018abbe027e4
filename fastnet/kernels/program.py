"""The kernels that other compiled code calls by address: what a program of params refers to."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from fastnet.kernels.cache import c_function
from fastnet.kernels.entries import entries
from fastnet.kernels.jit import kernel, source_digest, with_cache_if_possible
from fastnet.kernels.lock import undisturbed
from fastnet.kernels.network import run_rows, scratch_bytes
from fastnet.kernels.plan import plan
from fastnet.kernels.primitives import call, size_of, stack_bytes
from fastnet.kernels.row import run_small, suits_rows
from fastnet.kernels.table import KERNEL_BYTES
from fastnet.kernels.target import VECTOR_BYTES

#: what a program holds: the addresses of kernels, then the activation of each layer
RUN, RUN_LARGE, KERNELS = range(0, 24, 8)
ACTIVATIONS = KERNELS + KERNEL_BYTES
#: stack that larger calls take for scratch
STACK_SCRATCH = 128 * 1024

_DIGEST = source_digest()


def program_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """64-bit integers, of a type that tells element types and versions of the kernels apart.

    Code that a user keeps in Numba's cache is looked up by the types of its arguments: with the digest among
    them, code that was compiled against other kernels is not found.
    """
    return np.dtype([(f"fastnet_{dtype.name}_{_DIGEST}", np.int64)])


_compiled: dict[Any, tuple[Any, ...]] = {}


def kernel_addresses(dtype: np.dtype[Any]) -> list[int]:
    """Addresses for a program, in its order; compiled or loaded from the cache by the first call."""
    element = numba.from_dtype(dtype)

    def find() -> list[int]:
        if dtype not in _compiled:
            _compiled[dtype] = with_cache_if_possible(
                lambda cache: tuple(make(element, _DIGEST, cache) for make in (compile_run, compile_large))
            )
        return [*(f.address for f in _compiled[dtype]), *entries(dtype).table_addresses()]

    return undisturbed(find)


def compile_run(element: Any, digest: str, cache: bool) -> Any:
    """What user code calls: 0 if done, else the bytes of scratch that RUN_LARGE needs to do it."""

    @c_function(types.int64(element, *[types.int64] * 3), cache)
    def run(zero, table, batch, large):
        digest  # noqa: B018
        if suits_rows(zero, table, batch):
            run_small(zero, table, batch)
            return 0
        return call(zero, large, (table, batch, 0))

    return run


def compile_large(element: Any, digest: str, cache: bool) -> Any:
    """The rest, in a function of its own for the sake of its stack; what that does not hold needs scratch."""

    @c_function(types.int64(element, *[types.int64] * 3), cache)
    def run_large(zero, table, batch, scratch):
        digest  # noqa: B018
        by_samples, block, needed = _fitting(zero, table, batch)
        if needed <= STACK_SCRATCH:
            run_rows(zero, table, 0, batch, by_samples, block, stack_bytes(STACK_SCRATCH))
            return 0
        if scratch == 0:
            return needed
        run_rows(zero, table, 0, batch, by_samples, block, scratch)
        return 0

    return run_large


@kernel
def _fitting(zero, table, batch):
    """(samples in lanes?, rows of a block, scratch): as planned, or with smaller blocks if that fits."""
    planned, rows = plan(zero, table, 0, batch)
    rows = min(rows, max(batch, 1))
    lanes = VECTOR_BYTES // size_of(zero)
    for by_samples in (planned, 1 - planned):
        least = lanes if by_samples else 1
        block = max(rows, least)
        needed = scratch_bytes(zero, table, by_samples, block)
        while needed > STACK_SCRATCH and block > least:
            block = max(block // 2, least)
            needed = scratch_bytes(zero, table, by_samples, block)
        if needed <= STACK_SCRATCH:
            return by_samples, block, needed
    return planned, rows, scratch_bytes(zero, table, planned, rows)
