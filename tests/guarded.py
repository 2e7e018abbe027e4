"""Kernels on memory between forbidden pages: ``python -m tests.guarded NOTEBOOK GROUP:EVERY...``.

Inputs, weights, biases, results and the kernels' scratch memory end where a page begins that nobody may
touch, or begin where one ends. A touch outside is SIGSEGV. Results have to be, bit for bit, those of ordinary
memory.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import count, product
from typing import Any, NamedTuple

import numba
import numpy as np

import fastnet
from fastnet import fused
from fastnet.kernels.network import run_rows, scratch_bytes
from fastnet.kernels.target import VECTOR_BYTES
from tests.cases import BATCHES, FAN_INS, FAN_OUTS, KERNEL_DTYPES, NET_SIZES
from tests.fences import STRIDES, Fence
from tests.isolation import Notebook
from tests.ranges import run_range

MOST = 40  # of every dimension in the full product
LAYERS = {
    "identity": (),
    "sigmoid": (fastnet.Sigmoid,),
    "tanh": (fastnet.Tanh,),
    "relu": (fastnet.ReLU,),
    "softmax": (fastnet.Softmax,),
}
ACTIVATIONS = list(LAYERS)
#: of x, weights and out
PLAIN = ("C", "C", "C")
OTHERS = [
    ("F", "F", "F"),
    ("padded", "padded", "padded"),
    ("C", "F", "C"),
    ("strided", "strided", "strided"),
    ("upside down", "2 KB apart", "upside down"),
    ("reversed", "reversed", "reversed"),
    ("one row", "upside down", "F"),
    ("F", "2 KB apart", "C"),
]

#: all that `explain` may say of orientation and weights
PLANNED = {
    "samples in lanes", "outputs in lanes", "broadcast", "in place", "streamed", "packed", "transposed",
}  # fmt: skip


class Shape(NamedTuple):
    """One network, and how many rows go through it."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    rows: int


class Yard:
    """Fences by what lies in them, each as large as was needed so far."""

    def __init__(self) -> None:
        self._fences: dict[str, Fence] = {}

    def fence(self, role: str, capacity: int) -> Fence:
        found = self._fences.get(role)
        if found is None or found.end - found.first < capacity:
            found = self._fences[role] = Fence(capacity)
        return found

    def empty(self, role: str, shape: tuple[int, ...], layout: str, dtype: Any, at_end: bool) -> np.ndarray:
        size = dtype.itemsize
        strides = STRIDES[layout](*shape, size) if len(shape) == 2 else (size,)
        reach = sum((n - 1) * abs(stride) for n, stride in zip(shape, strides, strict=True) if n)
        return self.fence(role, reach + size).place(shape, strides, dtype, at_end)

    def put(self, role: str, a: np.ndarray, layout: str, at_end: bool) -> np.ndarray:
        placed = self.empty(role, a.shape, layout, a.dtype, at_end)
        placed[...] = a
        return placed


@cache
def network(activations: tuple[str, ...]) -> tuple[fastnet.Sequential, list[Any]]:
    """A network without weights as yet, and its affine layers."""
    layers: list[Any] = []
    for name in activations:
        layers += [fastnet.Affine(None, None), *(make() for make in LAYERS[name])]
    return fastnet.Sequential(layers), [layer for layer in layers if type(layer) is fastnet.Affine]


@cache
def values(dtype: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(1 << 22).astype(dtype)


def drawn(dtype: str, shape: tuple[int, ...], at: int) -> np.ndarray:
    """Values of order 1, others at each place."""
    size = int(np.prod(shape))
    start = at * 977 % (len(values(dtype)) - size)
    return values(dtype)[start : start + size].reshape(shape)


@numba.njit
def needed_scratch(zero, table, by_samples, block):
    return scratch_bytes(zero, table, by_samples, block)


@numba.njit
def run_with_scratch(zero, table, rows, by_samples, block, scratch):
    run_rows(zero, table, 0, rows, by_samples, block, scratch)


class Forced:
    """A network on scratch memory between fences, in the orientation and blocks that are asked for."""

    def __init__(self, yard: Yard, net: fastnet.Sequential, dense: list[Any], activations: Any) -> None:
        self.yard = yard
        self.dense = dense
        self.numbers = [make()._activation for name in activations for make in LAYERS[name] or (_Identity,)]

    def __call__(self, x: np.ndarray, out: np.ndarray, by_samples: int, block: int, at_end: bool) -> None:
        compiled, zero = fused.kernels(x.dtype), x.dtype.type(0)
        fields = compiled.new_table()
        if compiled.bind(x, out, self.dense, compiled.program(self.numbers), fields) < 0:
            raise RuntimeError("the kernels refuse these arrays")
        table = fields.ctypes.data
        needed = needed_scratch(zero, table, by_samples, block)
        scratch = self.yard.fence("scratch", needed).block(needed, at_end)
        run_with_scratch(zero, table, len(x), by_samples, block, scratch)


class _Identity:
    _activation = fastnet.Affine._activation


def blocks(rows: int, by_samples: int, dtype: np.dtype) -> set[int]:
    """All rows at once, and several blocks of which the last is lower."""
    least = VECTOR_BYTES // dtype.itemsize if by_samples else 1
    return {max(rows, least), max(rows // 2 + 1, least)}


class Trials:
    """Shapes on fenced memory, in every way that leads to the kernels."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self.yard = Yard()
        for dtype in KERNEL_DTYPES:
            fused.kernels(np.dtype(dtype)).prepare()  # the ways below call them by address
        self.seen: set[str] = set()  # of what `explain` says

    def run(self, shape: Shape, dtype: str, layouts: list[tuple[str, str, str]], ways: Any) -> None:
        """All ways, all layouts, both sides of the fences."""
        net, dense = network(shape.activations)
        pairs = [
            (drawn(dtype, (n, m), i + 1), drawn(dtype, (m,), i + 50))
            for i, (n, m) in enumerate(zip(shape.sizes, shape.sizes[1:], strict=False))
        ]
        x = drawn(dtype, (shape.rows, shape.sizes[0]), shape.rows)
        same = {}
        for x_layout, w_layout, out_layout in layouts:
            given = np.broadcast_to(x[:1], x.shape) if x_layout == "one row" and len(x) else x
            key = x_layout == "one row"
            if key not in same:
                for layer, pair in zip(dense, pairs, strict=True):
                    layer.params[:] = pair
                same[key] = net.predict(given)
            for at_end in (True, False):
                for i, (layer, (W, b)) in enumerate(zip(dense, pairs, strict=True)):
                    layer.params[:] = (
                        self.yard.put(f"W{i}", W, w_layout, at_end),
                        self.yard.put(f"b{i}", b, "C", at_end),
                    )
                placed = self.yard.empty("x", x.shape, x_layout, x.dtype, at_end)
                placed[...] = given
                out = self.yard.empty("out", same[key].shape, out_layout, x.dtype, at_end)
                name = f"{shape} {dtype} {x_layout}/{w_layout}/{out_layout} {'end' if at_end else 'begin'}"
                for way in ways:
                    way(self, name, net, dense, shape, placed, out, same[key], at_end)

    def check(self, name: str, call: Callable[[], Any], out: np.ndarray, want: np.ndarray) -> None:
        """One call that fills `out`, or returns another array."""
        out[...] = 7
        self.notebook.trying(name)
        got = call()
        got = out if got is None else got
        if not np.array_equal(got, want) and got.tobytes() != want.tobytes():
            raise AssertionError(f"{name}: {got!r} is not {want!r}")


def by_python(t, name, net, dense, shape, x, out, want, at_end) -> None:
    """What users call, with and without `out`."""
    t.check(f"{name} predict(x, out)", lambda: net.predict(x, out), out, want)
    t.check(f"{name} predict(x)", lambda: net.predict(x), out, want)
    if len(x) == 1:
        t.check(f"{name} predict(x[0], out[0])", lambda: net.predict(x[0], out[0]), out[0], want[0])
        t.check(f"{name} predict(x[0])", lambda: net.predict(x[0]), out[0], want[0])


def by_orientation(t, name, net, dense, shape, x, out, want, at_end) -> None:
    """Both orientations, on scratch between fences."""
    forced = Forced(t.yard, net, dense, shape.activations)
    for by_samples in (0, 1):
        for block in blocks(len(x), by_samples, x.dtype):
            call = partial(forced, x, out, by_samples, block, at_end)
            t.check(f"{name} samples={by_samples} block={block}", call, out, want)


def by_ranges(t, name, net, dense, shape, x, out, want, at_end) -> None:
    """Pieces of the rows, as threads take them."""
    compiled = fused.kernels(x.dtype)
    table = compiled.new_table()
    numbers = Forced(t.yard, net, dense, shape.activations).numbers

    def call() -> None:
        assert compiled.bind(x, out, dense, compiled.program(numbers), table) >= 0
        piece = max(len(x) // 3, 1)
        for first in range(0, len(x), piece):
            run_range(compiled, table, first, min(first + piece, len(x)))

    t.check(f"{name} ranges of rows", call, out, want)


@cache
def compiled_caller(depth: int, dtype: str) -> Any:
    """A user's function, for arrays of any layout."""
    predict, params = fastnet.njit_predict(_any_chain(depth, dtype))
    element = numba.from_dtype(np.dtype(dtype))
    pair = (numba.types.Array(element, 2, "A"), numba.types.Array(element, 1, "C"))
    weights = numba.types.Tuple((*pair * depth, numba.typeof(params[-1])))

    @numba.njit([numba.void(pair[0], weights, pair[0])])
    def call(x, params, out):
        predict(x, params, out)

    return call


def _any_chain(depth: int, dtype: str) -> fastnet.Sequential:
    return fastnet.Sequential([fastnet.Affine(np.eye(2, dtype=dtype), np.zeros(2, dtype))] * depth)


def by_njit(t, name, net, dense, shape, x, out, want, at_end) -> None:
    _, params = fastnet.njit_predict(net)
    call = compiled_caller(len(dense), x.dtype.name)
    t.check(f"{name} njit", lambda: call(x, params, out), out, want)


def by_cfunc(t, name, net, dense, shape, x, out, want, at_end) -> None:
    """Every row by a C function; rows lie between fences of their own."""
    if not len(x):
        return
    function = fastnet.cfunc_predict(net, "row")
    kind = function.ctypes.argtypes[0]
    row = t.yard.put("row", x[-1], "C", at_end)
    result = t.yard.empty("row of results", want[-1].shape, "C", x.dtype, at_end)
    pointers = [ctypes.cast(a.ctypes.data, kind) for a in (row, result)]

    def call() -> None:
        assert function.ctypes(*pointers, function.user_data) == 0

    t.check(f"{name} C function", call, result, want[-1])
    if want.shape[-1] == 0:
        return
    last = want.shape[-1] - 1
    row = t.yard.put("row of doubles", x[-1].astype(np.float64), "C", at_end)
    one = t.yard.empty("one result", (1,), "C", row.dtype, at_end)
    pointer, target = (ctypes.cast(a.ctypes.data, ctypes.POINTER(ctypes.c_double)) for a in (row, one))
    for form in ("filter", "integrand"):
        function = fastnet.cfunc_predict(net, form, last)

        def call(function: Any = function, form: str = form) -> None:
            if form == "filter":
                assert function.ctypes(pointer, row.size, target, function.user_data) == 1
            else:
                one[0] = function.ctypes(row.size, pointer, function.user_data)

        t.check(f"{name} {form}", call, one, want[-1, last:].astype(np.float64))


# -- what is tried


def full_product(every: int) -> Iterator[Shape]:
    """All of 0..40 in each dimension, or each so many-th of them."""
    sizes = range(MOST + 1)
    for i, (fan_in, fan_out, rows) in enumerate(product(sizes, sizes, sizes)):
        if i % every == 0:
            yield Shape((fan_in, fan_out), (ACTIVATIONS[i % len(ACTIVATIONS)],), rows)


def edges(every: int) -> Iterator[Shape]:
    """Around vectors, panels, chunks, tiles and blocks."""
    numbers = count()
    for fan_in, fan_out, rows in product(FAN_INS, FAN_OUTS, [*BATCHES, 479, 517]):
        i = next(numbers)
        if i % every == 0:
            yield Shape((fan_in, fan_out), (ACTIVATIONS[i % len(ACTIVATIONS)],), rows)


def few(every: int) -> Iterator[Shape]:
    """Few outputs for many rows, and few rows through weights of any layout."""
    numbers = count()
    all_rows = (8, 9, 16, 17, 18, 31, 33, 40, 70)
    for fan_in, fan_out, rows in product((24, 25, 33, 40, 65), (1, 2, 3, 4), all_rows):
        if next(numbers) % every == 0:
            yield Shape((fan_in, fan_out), ("identity",), rows)
            yield Shape((fan_in, fan_out, 5), ("identity", "sigmoid"), rows)
    for fan_in, fan_out, rows in product((24, 33, 40), (8, 15, 16, 17, 33, 40), (1, 2, 3, 4, 5)):
        if next(numbers) % every == 0:
            yield Shape((fan_in, fan_out), ("sigmoid",), rows)


def large(every: int) -> Iterator[Shape]:
    """Weights that do not stay in the second-level cache."""
    all_rows = [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 95, 96, 97, 239, 241, 515, 517]
    pairs = [(1030, 300), (300, 1030), (513, 515), (2049, 97), (257, 1025)]
    for i, (rows, sizes) in enumerate(product(all_rows, pairs)):
        if i % every == 0:
            yield Shape(sizes, (ACTIVATIONS[i % len(ACTIVATIONS)],), rows)


def wide(every: int) -> Iterator[Shape]:
    """Few rows whose sums take more memory than panels of weights do; weights that come from afar."""
    wide, far = (6, 40_000), (2050, 1030)
    for sizes, rows in [(wide, 6), (wide, 4), (far, 49), (wide, 5), (far, 61), (wide, 1)][::every]:
        yield Shape(sizes, ("tanh",), rows)


def networks(every: int) -> Iterator[Shape]:
    """Two layers and more."""
    some = [
        (n, h, m) for n in (1, 2, 3, 4, 5, 13, 40) for h in (1, 3, 8, 17, 40) for m in (1, 2, 3, 4, 9, 40)
    ]
    deep = [(3, 5, 9, 2), (40, 8, 8, 40, 1), (70, 3, 65, 4), (130, 1, 130)]
    numbers = count()
    for sizes, rows in product([*NET_SIZES, *some, *deep], [*BATCHES, 517]):
        i = next(numbers)
        if i % every == 0:
            at = i // every
            names = tuple(ACTIVATIONS[(at + k) % len(ACTIVATIONS)] for k in range(len(sizes) - 1))
            yield Shape(sizes, names, rows)


KERNEL_WAYS = (by_python, by_orientation, by_ranges)
GROUPS: dict[str, tuple[Callable[[int], Iterator[Shape]], tuple[Any, ...], int]] = {
    # what, the ways, how many of the other layouts each shape has
    "product": (full_product, KERNEL_WAYS, 1),
    "edges": (edges, KERNEL_WAYS, 1),
    "few": (few, KERNEL_WAYS, 1),
    "large": (large, KERNEL_WAYS, 1),
    "wide": (wide, KERNEL_WAYS, 1),
    "networks": (networks, KERNEL_WAYS, 1),
    "compiled": (
        lambda every: (s for s in (*full_product(97 * every), *networks(3 * every)) if len(s.sizes) < 4),
        (by_njit, by_cfunc),
        1,
    ),
}


def shapes(t: Trials, group: str, every: int, dtypes: Iterable[str] = KERNEL_DTYPES) -> None:
    """A group of shapes in these dtypes, in the plain layout and others in turn."""
    what, ways, more = GROUPS[group]
    for dtype in dtypes:
        for i, shape in enumerate(what(every)):
            others = [OTHERS[(i * more + k) % len(OTHERS)] for k in range(more)]
            t.run(shape, dtype, [PLAIN, *others], ways)
            if group in ("edges", "large"):
                [plan] = fastnet.explain(network(shape.activations)[0], shape.rows, dtype)
                t.seen |= {plan.orientation, *plan.weights}


def activations_alone(t: Trials, group: str, every: int) -> None:
    """Activation layers without an affine layer before them."""
    for dtype, name, at_end in product(KERNEL_DTYPES, ACTIVATIONS[1:], (True, False)):
        [make] = LAYERS[name]
        layer = make()
        for size, rows in product([*range(140), 255, 256, 257, 1023, 1025], (1, 3)):
            a = drawn(dtype, (rows, size), size)
            want = layer.forward(a)
            x = t.yard.put("x", a, "C", at_end)
            out = t.yard.empty("out", a.shape, "C", a.dtype, at_end)
            text = f"{name} {dtype} {a.shape} {'end' if at_end else 'begin'}"
            t.check(f"{text} out", lambda layer=layer, x=x, out=out: layer.forward(x, out), out, want)
            t.check(text, lambda layer=layer, x=x: layer.forward(x), out, want)


def main(notes: str, *groups: str) -> None:
    """Each group is its name, a colon, and that each so many-th shape is tried; and a colon and one dtype."""
    fastnet.set_num_threads(1)
    t = Trials(Notebook(notes))
    for group in groups:
        name, every, *dtypes = group.split(":") if ":" in group else (group, "1")
        if name == "activations":
            activations_alone(t, name, int(every))
        else:
            shapes(t, name, int(every), dtypes or KERNEL_DTYPES)
    if {"edges", "large"} <= {group.partition(":")[0] for group in groups}:
        missed = PLANNED - t.seen
        assert not missed, f"none of the shapes has {missed}"
    t.notebook.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
