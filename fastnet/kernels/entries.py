"""The entry points for an element type: what of them is compiled when, and what calls need beside arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types

from fastnet.kernels import crew, ranges
from fastnet.kernels.columns import shared_bytes
from fastnet.kernels.entry import MAX_DEPTH, TABLE_BYTES, make_entries
from fastnet.kernels.headers import ObjectRef, array_empty, layout_is_known
from fastnet.kernels.jit import source_digest, with_cache_if_possible
from fastnet.kernels.layer import compile_layer
from fastnet.kernels.lock import undisturbed
from fastnet.kernels.network import compile_run_outputs, compile_run_samples
from fastnet.kernels.once import once
from fastnet.kernels.row import compile_run_few
from fastnet.kernels.steps import compile_narrow, compile_steps
from fastnet.kernels.stream import compile_streams
from fastnet.kernels.sweep import compile_sweep
from fastnet.kernels.table import FEW, KERNEL_BYTES, SWEEP

#: in the order of their addresses in a table and in a program
_KERNELS = (
    compile_sweep, compile_steps, compile_layer, compile_narrow, compile_streams,
    compile_run_outputs, compile_run_samples, compile_run_few,
)  # fmt: skip
#: what a call may lack, and is compiled then: nobody waits for what he does not use. In the
#: order of their numbers in ``table.py``
LACKING = ("outputs in lanes", "samples in lanes", "narrow layers", "large weights", "few rows")
_NEEDED = dict(zip(LACKING, ((0, 1, 2, 5), (0, 1, 6), (3,), (4,), (7,)), strict=True))
LOADED, COMPILED, UNCACHED = "loaded from the cache", "compiled", "compiled without a cache"


class Entries:
    """Entry points for one element type. They check arrays, but not the types of other arguments.

    Each is compiled, or loaded from the cache, when it is first asked for, and so are the kernels.
    """

    #: up to how much work `predict` keeps the interpreter lock: see P_LOCK_HELD. Programs have its address:
    #: what takes its place has to live as long as they do.
    lock_held = ctypes.c_int64(0)
    max_depth = MAX_DEPTH
    lacking = LACKING

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.kernels: dict[int, Any] = {}  # those of _KERNELS that are there
        self.functions: dict[bool, tuple[Any, ...]] = {}  # cached? -> predict, bind, alone
        self.ranges: list[Any] = []  # those of `run` and `run_strips`, if they are there
        self._origins: set[str] = set()

    @property
    def origin(self) -> str:
        """Where the machine code came from: LOADED, COMPILED or UNCACHED, if any of it."""
        return next(origin for origin in (UNCACHED, COMPILED, LOADED) if origin in self._origins)

    @once
    def predict(self) -> Any:
        """(x, out or None, list of layers, recipe) -> result; None if refused, False if large.

        Or one of LACKING, if the recipe says so: what is to be completed first.
        """
        return self._point(0, (self._ref,) * 4)

    @once
    def bind(self) -> Any:
        """(x, out, layers with params, program, int64 table) -> work in multiply-adds, -1 if refused."""
        return self._point(1, (self._ref,) * 5)

    @once
    def run(self) -> int:
        """Address of what runs ranges of rows of a table: `ranges.compile_rows`."""
        return self._range(ranges.compile_rows)

    @once
    def run_strips(self) -> int:
        """Address of what runs strips: `ranges.compile_strips`."""
        return self._range(ranges.compile_strips)

    def _range(self, make: Callable[..., Any]) -> int:
        compiled = self._made(make, self.dtype.type)
        self.ranges.append(compiled)
        address: int = compiled.address
        return address

    def supply(self, table: np.ndarray[Any, Any], answer: int) -> None:
        """What a range was found to lack: compiled now, and told to the table."""
        self.complete(LACKING[answer - 1])
        table[SWEEP // 8 : (SWEEP + KERNEL_BYTES) // 8] = self._addresses()[: KERNEL_BYTES // 8]

    def strips(self, table: np.ndarray[Any, Any], rows: int, widest: int, count: int) -> np.ndarray[Any, Any]:
        """Context for `run_strips`, `count` strips of columns to a layer."""
        shared = shared_bytes(rows, widest, self.dtype.itemsize)
        context = np.zeros((ranges.SHARED + shared + 7) // 8, np.int64)
        context[ranges.ROWS // 8], context[ranges.STRIPS // 8] = rows, count
        context[ranges.TABLE // 8 : ranges.TABLE // 8 + len(table)] = table
        return context

    @once
    def activate(self) -> Any:
        """(x, out, activation, width of a row), x and out contiguous and one-dimensional."""
        return self._point(2, (self._ref, self._ref, types.int64, types.int64))

    @property
    def _ref(self) -> ObjectRef:
        return ObjectRef(numba.from_dtype(self.dtype))

    def _point(self, which: int, signature: tuple[Any, ...]) -> Any:
        def compile(cache: bool) -> Any:
            if cache not in self.functions:
                self.functions[cache] = make_entries(source_digest(), cache)
            function = self.functions[cache][which]
            function.compile(signature)
            self._note(cache, sum(function.stats.cache_hits.values()))
            return function.overloads[signature].entry_point

        return with_cache_if_possible(compile)

    def kernel(self, number: int) -> Any:
        """One of _KERNELS, compiled or loaded by the first who asks."""

        def find() -> Any:
            if number not in self.kernels:
                self.kernels[number] = self._made(_KERNELS[number], numba.from_dtype(self.dtype))
            return self.kernels[number]

        return self.kernels.get(number) or undisturbed(find)

    def _made(self, make: Callable[..., Any], kind: Any) -> Any:
        """make(kind, digest, cached?), and where its machine code came from noted."""

        def compile(cache: bool) -> Any:
            made = make(kind, source_digest(), cache)
            self._note(cache, made.cache_hits)
            return made

        return with_cache_if_possible(compile)

    def complete(self, lacking: str) -> None:
        """Compile or load the kernels that a call lacks: one of LACKING."""
        for number in _NEEDED[lacking]:
            self.kernel(number)

    def _note(self, cache: bool, hits: int) -> None:
        self._origins.add(UNCACHED if not cache else LOADED if hits else COMPILED)

    def prepare(self) -> None:
        """Compile or load what is not there yet."""
        for name in ("predict", "bind", "run", "run_strips", "activate"):
            getattr(self, name)
        for lacking in LACKING:
            self.complete(lacking)
        crew.functions()

    def new_table(self) -> np.ndarray[Any, Any]:
        """For `bind` to fill. It holds addresses: whoever runs it keeps the arrays alive."""
        return np.empty(TABLE_BYTES // 8, np.int64)

    def recipe(
        self,
        dense: list[Any],
        program: bytes,
        seen: list[Any],
        checked: bool | None = None,
        lacking: Sequence[str | None] = (None,) * len(LACKING),
    ) -> list[Any]:
        """What `predict` needs for chains of layers with params, when the list of layers equals `seen`.

        With `checked`, not None, it takes any `out` that fits: the caller knows that it may be written to.
        A call that lacks kernels returns the entry of `lacking` for them: None, refused, or those of LACKING.
        """
        return [dense, program, seen, self.dtype, np.ndarray, None, False, checked, *lacking]

    def program(self, activations: Sequence[int]) -> bytes:
        """The addresses of the kernels, 0 for those that are not there, then the activation of each layer."""
        head = [*self._addresses(), array_empty(), ctypes.addressof(self.lock_held)]
        return np.array(head, np.int64).tobytes() + bytes(activations)

    def _addresses(self) -> list[int]:
        there = dict(self.kernels)  # at one time: none is there without those that it always calls
        return [there[i].address if i in there else 0 for i in range(len(_KERNELS))]

    def table_addresses(self) -> list[int]:
        """Of all kernels that a table refers to."""
        for lacking in LACKING[:FEW]:
            self.complete(lacking)
        return self._addresses()[: KERNEL_BYTES // 8]


_entries: dict[Any, Entries] = {}


def entries(dtype: np.dtype[Any]) -> Entries:
    """Compile, or load from the cache, the entry points for float32 or float64."""

    def find() -> Entries:
        if dtype not in _entries:
            if not layout_is_known():
                raise NotImplementedError(
                    "this Python or NumPy lays out arrays in a way fastnet does not know"
                )
            found = Entries(dtype)
            found.predict  # noqa: B018 - what every call needs
            _entries[dtype] = found
        return _entries[dtype]

    return undisturbed(find)
