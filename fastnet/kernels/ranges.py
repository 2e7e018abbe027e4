"""What ``crew.py`` has threads call for a large ``predict``: ranges of rows, or of strips of columns.

A function of (context, first, stop) answers 0 to go on; NO_MEMORY; or, where kernels have not been compiled
yet, 1 more than their number in `entries.LACKING`.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastnet.kernels.cache import c_function
from fastnet.kernels.columns import SHARED_BYTES, run_strips
from fastnet.kernels.entry import TABLE_BYTES
from fastnet.kernels.network import aligned, lacking, run_allocated, scratch_bytes
from fastnet.kernels.plan import plan
from fastnet.kernels.primitives import allocate, free, load_int64
from fastnet.kernels.table import NOTHING
from fastnet.kernels.target import CACHE_LINE

_INT = types.int64
#: of every such function
SIGNATURE = _INT(_INT, _INT, _INT)
NO_MEMORY = -1
#: context of strips: rows, strips to a layer, the table, and then what threads share
ROWS, STRIPS, TABLE, SHARED = 0, 8, 16, 16 + TABLE_BYTES


def compile_rows(kind: Any, digest: str, cache: bool) -> Any:
    """Rows first..stop of what the context, a table, describes."""

    @c_function(SIGNATURE, cache)
    def run_range(table, first, stop):
        digest  # noqa: B018
        zero = kind(0)
        by_samples, block = plan(zero, table, first, stop)
        lacks = lacking(zero, table, by_samples)
        if lacks != NOTHING:
            return 1 + lacks
        block = min(block, max(stop - first, 1))
        return 0 if run_allocated(zero, table, first, stop, by_samples, block) else NO_MEMORY

    return run_range


def compile_strips(kind: Any, digest: str, cache: bool) -> Any:
    """All strips that nobody else takes, whatever the range: there is one for each thread."""

    @c_function(SIGNATURE, cache)
    def take_strips(context, first, stop):
        digest  # noqa: B018
        zero, table = kind(0), context + TABLE
        rows = load_int64(context + ROWS)
        lacks = lacking(zero, table, 0)
        if lacks != NOTHING:
            return 1 + lacks
        shared = aligned(context + SHARED)
        scratch = allocate(scratch_bytes(zero, table, 0, rows) + CACHE_LINE)
        if scratch == 0:  # before a strip is claimed that others would wait for
            return NO_MEMORY
        strips = load_int64(context + STRIPS)
        run_strips(zero, table, shared, shared + SHARED_BYTES, rows, strips, aligned(scratch))
        free(scratch)
        return 0

    return take_strips
