"""Hostile calls against the reference: ``python -m tests.hostile NOTEBOOK GROUP:EXAMPLES...``.

Each example takes a case of the table, poisons x, weights, params, layers or out, and calls. The answer is
the reference's, or an error is raised and nothing was written.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.lib.stride_tricks import as_strided

import fastnet
from fastnet.estimators import Classifier, Regressor
from tests.cases import FAST, KERNEL_DTYPES, LABELS, LAYOUTS, NETS, REFERENCE, Case, Loop, case, draw
from tests.compare import answer, assert_within, error_bound, expected, numbers, outcome, same_kind
from tests.isolation import Notebook, no_hang
from tests.poisons import ARRAYS, CHANGING, LIARS, PARAMS, STRANGERS

#: seconds that no call takes, on the slowest machine
FOREVER = 300

labels = st.sampled_from(LABELS)
dtypes = st.sampled_from(KERNEL_DTYPES)
sides = st.one_of(st.sampled_from([0, 1, 2, 3, 4, 5, 7, 13, 17, 31, 37, 64, 67, 257]), st.integers(0, 40))
sizes = st.lists(sides, min_size=3, max_size=5).map(tuple)
leads = st.one_of(
    st.sampled_from([0, 1, 2, 3, 5, 6, 7, 13, 17, 24, 61, 131]).map(lambda rows: (rows,)),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
)
poisons = st.sampled_from(list(ARRAYS))


def weighted(obj: Any) -> list[Any]:
    """Layers with weights, of a layer or a network as they were built."""
    return [layer for layer in getattr(obj, "layers", [obj]) if len(layer.params) == 2]


def holds(obj: Any, array: np.ndarray, *outer: Any) -> bool:
    """Whether a layer of a network, which may contain itself, has this very array."""
    if any(obj is other for other in outer):
        return False
    inner = getattr(obj, "layers", ())
    return any(array is p for p in getattr(obj, "params", ()) if not inner) or any(
        holds(layer, array, obj, *outer) for layer in inner
    )


# -- what may come of a call


REFUSALS = (ValueError, TypeError, AttributeError)


def shown(value: Any) -> str:
    """Words for a value that may refuse to be printed."""
    text, error = outcome(repr, value)
    return f"{type(value).__name__}, {error!r}" if error else text


def refused(error: Exception, refusal: Exception | None, name: str) -> None:
    """The reference's own error, or one of these that says something; params may have been deleted."""
    if refusal is None:
        raise AssertionError(f"{name}: refused, the reference answers: {error!r}") from error
    if type(error) is not type(refusal) and not (type(error) in REFUSALS and str(error)):
        raise AssertionError(f"{name}: raises {error!r}, the reference {refusal!r}") from error


def agree(got: Any, want: Any, ref: Any, x: Any, name: str) -> None:
    """The same kind of answer, within the bound of the case; what has no bound, to the bit."""
    if not isinstance(want, np.ndarray | np.generic):
        assert type(got) is type(want), f"{name}: {shown(got)}, the reference returns {shown(want)}"
        return
    assert type(got) is type(want), f"{name}: {type(got)}, the reference returns {type(want)}"
    if isinstance(want, np.ma.MaskedArray):
        np.testing.assert_array_equal(np.ma.getmaskarray(got), np.ma.getmaskarray(want), name)
        got, want = got.filled(0), want.filled(0)
    elif isinstance(want, np.ndarray):
        got, want = (np.ndarray.view(a, np.ndarray) for a in (got, want))  # as they are, not as they say
    same_kind(got, want, name)
    if want.dtype.kind not in "fcO":
        np.testing.assert_array_equal(got, want, name)
        return
    try:
        with np.errstate(all="ignore"):
            got, want, bound = numbers(got), numbers(want), 2 * error_bound(ref, x)
    except Exception:  # such params or numbers as have no bound: the reference itself has answered
        np.testing.assert_array_equal(got, want, name)
        return
    with np.errstate(all="ignore"):
        assert_within(got, want, bound, name)


def check(fast: Any, ref: Any, x: Any, name: str, changing: bool = False, again: Any = None) -> None:
    """One call without `out`; `again` is another reference, where one call of it uses it up."""
    want, refusal = expected(ref, x)
    got, error = outcome(answer(fast), x)
    if changing:  # what it is depends on who looks first
        return
    if error is not None:
        refused(error, refusal, name)
    elif refusal is not None:
        raise AssertionError(f"{name}: {shown(got)}, the reference raises {refusal!r}")
    else:
        agree(got, want, again or ref, x, name)


def whole(a: np.ndarray) -> np.ndarray:
    """The memory that an array lies in."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return np.ndarray.view(a, np.ndarray)


def check_out(c: Case, x: Any, out: Any, fits: bool | None, name: str, changing: bool = False) -> None:
    """One call with `out`: filled and handed back, or refused and left as it was.

    `fits` says which it has to be, None that it may be either.
    """
    frame = whole(out) if isinstance(out, np.ndarray) else None
    before = None if frame is None else frame.tobytes()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want, refusal = expected(c.ref, x)
    got, error = outcome(answer(c.fast), x, out=out)
    if error is not None:
        assert frame is None or frame.tobytes() == before, f"{name}: out was written before {error!r}"
        if refusal is None and not changing:
            assert not fits, f"{name}: refused: {error!r}"
            assert type(error) in (ValueError, TypeError), f"{name}: {error!r}"
            assert str(error), f"{name}: no word of what is wrong"
        return
    assert got is out, f"{name}: another object came back"
    if changing:
        return
    assert refusal is None, f"{name}: answered, the reference raises {refusal!r}"
    assert fits is not False, f"{name}: accepted"
    agree(np.asarray(np.ndarray.view(out, np.ndarray)), np.asarray(want), c.ref, x, name)


# -- single calls


class Call(NamedTuple):
    """A case, what to call it with, words for both, and whether the answer depends on who looks first."""

    c: Case
    x: Any
    name: str
    changing: bool

    def __repr__(self) -> str:  # not of arrays, which may refuse
        return self.name


@st.composite
def calls(draw_: Any) -> Call:
    """A case, its x or weights poisoned in up to two places, after a healthy call or before any."""
    label, dtype = draw_(labels), draw_(dtypes)
    c = case(label, dtype, draw_(sizes), draw_(leads), seed=draw_(st.integers(0, 99)))
    if draw_(st.booleans()):
        outcome(answer(c.fast), c.x)
    x, name, changing = c.x, c.name, False
    for place in draw_(st.lists(st.integers(0, 4), min_size=1, max_size=2, unique=True)):
        poison = draw_(poisons)
        if place == 0 or not weighted(c.fast):
            x, name = ARRAYS[poison](c.x), f"{name} x: {poison}"
        else:
            at, which = divmod(place - 1, 2)
            at %= len(weighted(c.fast))
            value = ARRAYS[poison](c.weights[at][which])
            for obj in (c.fast, c.ref):
                weighted(obj)[at].params[which] = value
            name += f" params[{which}] of {at}: {poison}"
        changing = changing or poison in CHANGING
    return Call(c, x, name, changing)


def healthy(c: Case, dtype: str) -> np.ndarray:
    want, refusal = expected(c.ref, c.x)
    assert refusal is None, c.name
    return np.full(np.shape(want), 7, dtype)


def _within(buffer: np.ndarray, shape: tuple[int, ...], start: int) -> np.ndarray:
    return buffer[start : start + int(np.prod(shape))].reshape(shape)


def _lying(cls: type, fits: bool | None = None) -> Callable[[Case, np.ndarray], tuple[Any, bool | None]]:
    return lambda c, out: (out.view(cls), fits)


def _read_only_but_lying(c: Case, out: np.ndarray) -> tuple[Any, bool]:
    out.flags.writeable = False
    return out.view(LIARS["LyingFlags"]), False


def _over_x(shift: int) -> Callable[[Case, np.ndarray], tuple[Any, bool | None]]:
    """Out over x, so many elements into it."""

    def make(c: Case, out: np.ndarray) -> tuple[Any, bool | None]:
        buffer = np.zeros(c.x.size + out.size + abs(shift), out.dtype)
        start = max(-shift, 0)
        x = _within(buffer, c.x.shape, start)
        x[...] = c.x
        c.x = x
        over = _within(buffer, out.shape, start + shift)
        return over, not np.shares_memory(over, x)

    return make


def _over_weights(which: int) -> Callable[[Case, np.ndarray], tuple[Any, bool | None]]:
    """Out over W or b of the first or the last layer."""

    def make(c: Case, out: np.ndarray) -> tuple[Any, bool | None]:
        layers = [weighted(obj) for obj in (c.fast, c.ref)]
        if not layers[0]:
            return out, True
        at = which // 2 % len(layers[0])
        a = c.weights[at][which % 2]
        buffer = np.zeros(a.size + out.size, out.dtype)
        placed = _within(buffer, a.shape, 0)
        placed[...] = a
        for found in layers:
            found[at].params[which % 2] = placed
        over = _within(buffer, out.shape, max(a.size - 1, 0))
        return over, not np.shares_memory(over, placed)

    return make


def _strides(*strides: int) -> Callable[[Case, np.ndarray], tuple[Any, bool | None]]:
    """Elements of out that lie over each other, if it has more than one axis."""

    def make(c: Case, out: np.ndarray) -> tuple[Any, bool | None]:
        if out.ndim != 2 or min(out.shape) < 2:
            return out, True
        given = [s * out.itemsize for s in strides]
        return as_strided(np.full(10 * out.size + 10, 7, out.dtype), out.shape, given), False

    return make


Out = Callable[[Case, np.ndarray], tuple[Any, bool | None]]
OUTS: dict[str, Out] = {
    **{
        layout: lambda c, out, layout=layout: (LAYOUTS[layout](out), layout != "read-only")
        for layout in LAYOUTS
        if layout != "byte-swapped"
    },
    "byte-swapped": lambda c, out: (LAYOUTS["byte-swapped"](out), False if out.size else None),
    "one more row": lambda c, out: (np.zeros((out.shape[0] + 1 if out.ndim else 1, *out.shape[1:])), False),
    "one more axis": lambda c, out: (out[None], False),
    "float16": lambda c, out: (out.astype("f2"), False),
    "complex": lambda c, out: (out.astype("D"), False),
    "object": lambda c, out: (out.astype(object), False),
    "bytes": lambda c, out: (np.zeros(out.shape, f"V{out.itemsize}"), False),
    "list": lambda c, out: (out.tolist(), False),
    "text": lambda c, out: ("out", False),
    "memoryview": lambda c, out: (memoryview(out), False),
    "scalar": lambda c, out: (out.dtype.type(0), False),
    "class": lambda c, out: (np.ndarray, False),
    "x": lambda c, out: (c.x, None),
    "over x": _over_x(0),
    "into x": _over_x(1),
    "before x": _over_x(-1),
    "over W": _over_weights(0),
    "over b": _over_weights(1),
    "over the last W": _over_weights(2),
    "over the last b": _over_weights(3),
    "one row": _strides(0, 1),
    "one column": _strides(1, 0),
    "one element": _strides(0, 0),
    "diagonals": _strides(1, 1),
    "read-only but lying": _read_only_but_lying,
    "masked": lambda c, out: (np.ma.masked_array(out), None),
    "recarray": lambda c, out: (out.view(np.recarray), None),
    **{name: _lying(cls) for name, cls in LIARS.items()},
}


def estimator(c: Case) -> Any:
    """A regressor or a classifier around a network, whose probabilities may be any numbers."""
    width = weighted(c.fast)[-1].params[0].shape[1]
    return Regressor(c.fast) if width < 2 else Classifier(c.fast, list(range(width)))


class Examples:
    """The properties, for as many examples as are asked for."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook

    def trying(self, name: str) -> None:
        note(name)
        self.notebook.trying(name)

    def calls(self, examples: settings) -> None:
        @examples
        @given(calls())
        def test(call: Any) -> None:
            c, x, name, changing = call
            self.trying(name)
            with no_hang(FOREVER):
                check(c.fast, c.ref, x, name, changing)
                check(c.fast, c.ref, c.x, f"{name}, then a healthy x", changing)

        test()

    def outs(self, examples: settings) -> None:
        @examples
        @given(labels, dtypes, sizes, leads, st.sampled_from(list(OUTS)))
        def test(label: str, dtype: str, sizes: Any, lead: Any, kind: str) -> None:
            c = case(label, dtype, sizes, lead)
            out, fits = OUTS[kind](c, healthy(c, dtype))
            name = f"{c.name} out: {kind}"
            self.trying(name)
            with no_hang(FOREVER):
                check_out(c, c.x, out, fits, name)

        test()

    def poisoned_outs(self, examples: settings) -> None:
        @examples
        @given(calls(), st.sampled_from(list(OUTS)))
        def test(call: Any, kind: str) -> None:
            c, x, name, changing = call
            want, _ = expected(c.ref, x)
            want = np.ndarray.view(want, np.ndarray) if isinstance(want, np.ndarray) else want
            fair = isinstance(want, np.ndarray) and want.dtype.kind == "f"
            out, _ = OUTS[kind](c, np.full(want.shape if fair else (2, 3), 7, want.dtype if fair else "f8"))
            name = f"{name} out: {kind}"
            self.trying(name)
            with no_hang(FOREVER):
                check_out(c, x, out, None, name, changing)

        test()

    def estimators(self, examples: settings) -> None:
        @examples
        @given(dtypes, st.lists(st.integers(1, 40), min_size=3, max_size=3), leads, poisons)
        def test(dtype: str, sizes: Any, lead: Any, poison: str) -> None:
            c = case("SequentialReLUSoftmax", dtype, sizes, lead or (2,))
            model, x = estimator(c), ARRAYS[poison](c.x)
            name = f"{type(model).__name__} {c.name} x: {poison}"
            self.trying(name)
            with no_hang(FOREVER):
                got, error = outcome(getattr(model, "predict_proba", model.predict), x)
            if error is not None:
                _, refusal = outcome(np.asarray, x)
                kinds = (ValueError, TypeError, MemoryError, type(refusal))
                assert isinstance(error, kinds), f"{name}: {error!r}"
                assert str(error) or not str(refusal), f"{name}: no word of what is wrong"
            elif poison not in CHANGING:
                want, refusal = expected(c.ref, np.asarray(x))
                if refusal is None and np.asarray(x).dtype.kind in "biuf":
                    agree(np.asarray(got).reshape(want.shape), want, c.ref, np.asarray(x), name)

        test()

    def changes(self, examples: settings) -> None:
        Changes.examples = self
        run_state_machine_as_test(Changes, settings=settings(examples, stateful_step_count=6))


class Changes(RuleBasedStateMachine):
    """A network and its twin, mistreated alike step by step, and called between the steps."""

    examples: Examples

    @initialize(label=st.sampled_from(NETS), dtype=dtypes, size=st.integers(0, 40), lead=leads)
    def start(self, label: str, dtype: str, size: int, lead: Any) -> None:
        self.c = case(label, dtype, (size, size, size), lead)
        self.name = self.c.name
        self.dtype = dtype
        self.changing = False
        self.dense = [weighted(obj) for obj in (self.c.fast, self.c.ref)]
        self.ref = Loop(self.c.ref.layers)
        self.called()

    def both(self) -> Any:
        return ((self.c.fast, FAST), (self.ref, REFERENCE))

    def called(self, again: Any = None) -> None:
        self.examples.trying(self.name)
        with no_hang(FOREVER):
            check(self.c.fast, self.ref, self.c.x, self.name, self.changing, again)

    def after(self, step: str, again: Any = None) -> None:
        self.name += f"; {step}"
        self.called(again)

    @rule(at=st.integers(0, 3), which=st.integers(0, 1), poison=poisons)
    def poison_weights(self, at: int, which: int, poison: str) -> None:
        at %= len(self.dense[0])
        try:
            value = ARRAYS[poison](self.c.weights[at][which])
            for found in self.dense:
                found[at].params[which] = value
        except (TypeError, IndexError, AttributeError, RuntimeError):  # params are none any more
            return
        self.changing = self.changing or poison in CHANGING
        self.after(f"params[{which}] of {at}: {poison}")

    @rule(at=st.integers(0, 3), kind=st.sampled_from(list(PARAMS)))
    def replace_params(self, at: int, kind: str) -> None:
        at %= len(self.dense[0])
        W, b = self.c.weights[at]
        for found in self.dense:
            found[at].params = PARAMS[kind](W, b)
        again = None
        if kind == "iterator":
            used = self.dense[1][at]
            twin = copy.copy(used)
            twin.params = [W, b]
            again = Loop([twin if layer is used else layer for layer in self.ref.layers])
        self.after(f"params of {at}: {kind}", again)
        if kind == "iterator":  # it is used up, on either side
            for found in self.dense:
                found[at].params = [W, b]

    @rule(at=st.integers(0, 3))
    def delete_params(self, at: int) -> None:
        at %= len(self.dense[0])
        for found in self.dense:
            if hasattr(found[at], "params"):
                del found[at].params
        self.after(f"params of {at} deleted")

    @rule()
    def heal(self) -> None:
        for found in self.dense:
            for layer, (W, b) in zip(found, self.c.weights, strict=True):
                layer.params = [W, b]
        self.changing = False
        self.after("params healed")

    @rule(at=st.integers(0, 3), change=st.sampled_from(["shape", "dtype", "strides", "flags", "shrink"]))
    def redescribe(self, at: int, change: str) -> None:
        """The very array, described anew behind everybody's back."""
        W, b = self.c.weights[at % len(self.c.weights)]
        if not W.size:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if change == "shape":
                    W.shape = W.shape[::-1]
                elif change == "dtype":
                    W.dtype = "i4" if self.dtype == "float32" else "i8"
                elif change == "strides":
                    W.strides = (0, W.itemsize)
                elif change == "flags":
                    W.flags.writeable = not W.flags.writeable
                else:
                    b.resize(max(b.size - 1, 0), refcheck=False)
        except (ValueError, AttributeError):
            return
        self.after(f"{change} of W{at}")

    @rule(kind=st.sampled_from(list(STRANGERS)), at=st.integers(0, 5))
    def insert_stranger(self, kind: str, at: int) -> None:
        self.change_list(f"{kind} inserted", lambda obj, lib: obj.layers.insert(at, STRANGERS[kind]()))

    @rule(at=st.integers(0, 5))
    def insert_activation(self, at: int) -> None:
        self.change_list("tanh inserted", lambda obj, lib: obj.layers.insert(at, lib.Tanh()))

    @rule()
    def insert_itself(self) -> None:
        self.change_list("itself appended", lambda obj, lib: obj.layers.append(obj))

    @rule()
    def insert_a_ring(self) -> None:
        """Two networks that contain each other."""

        def change(obj: Any, lib: Any) -> None:
            other = lib.Sequential([])
            other.layers.append(obj)
            obj.layers.append(other)

        self.change_list("a ring", change)

    @rule()
    def insert_a_network(self) -> None:
        W = draw(np.random.default_rng(5), (len(self.c.x.T), len(self.c.x.T)), self.dtype)
        self.change_list(
            "a network inserted",
            lambda obj, lib: obj.layers.insert(0, lib.Sequential([lib.Affine(W, 0.5), lib.ReLU()])),
        )

    @rule(at=st.integers(0, 5))
    def repeat_a_layer(self, at: int) -> None:
        def change(obj: Any, lib: Any) -> None:
            if obj.layers:
                obj.layers.append(obj.layers[at % len(obj.layers)])

        self.change_list("a layer twice", change)

    @rule(times=st.sampled_from([3, 33, 64]))
    def deepen(self, times: int) -> None:
        def change(obj: Any, lib: Any) -> None:
            if len(obj.layers) * times <= 80:
                obj.layers *= times

        self.change_list("deeper", change)

    @rule()
    def empty(self) -> None:
        self.change_list("emptied", lambda obj, lib: obj.layers.clear())

    @rule()
    def turn(self) -> None:
        self.change_list("reversed", lambda obj, lib: obj.layers.reverse())

    @rule(kind=st.sampled_from(["tuple", "None", "number", "text", "dict", "array", "subclass", "deleted"]))
    def replace_layers(self, kind: str) -> None:
        """For one call: the next steps have the list again."""
        if type(self.c.fast.layers) is not list:
            return
        kept = [(obj, obj.layers) for obj, _ in self.both()]
        for obj, layers in kept:
            if kind == "deleted":
                del obj.layers
                continue
            obj.layers = {
                "tuple": lambda layers=layers: tuple(layers),
                "None": lambda: None,
                "number": lambda: 7,
                "text": lambda: "layers",
                "dict": lambda layers=layers: dict.fromkeys(range(len(layers)), 0),
                "array": lambda layers=layers: np.array([*layers, None], object)[:-1],
                "subclass": lambda layers=layers: type("Layers", (list,), {"__len__": lambda s: 1})(layers),
            }[kind]()
        self.after(f"layers: {kind}")
        for obj, layers in kept:
            obj.layers = layers

    def change_list(self, step: str, change: Callable[[Any, Any], None]) -> None:
        for obj, lib in self.both():
            change(obj, lib)
        self.after(step)

    @rule(poison=poisons)
    def poison_x(self, poison: str) -> None:
        name = f"{self.name}; x: {poison}"
        self.examples.trying(name)
        x = ARRAYS[poison](self.c.x)
        with no_hang(FOREVER):
            check(self.c.fast, self.ref, x, name, self.changing or poison in CHANGING)

    @rule(
        kind=st.sampled_from(["C", "strided", "over x", "over W", "over the last b", "LyingShape", "float16"])
    )
    @precondition(lambda self: not self.changing)
    def with_out(self, kind: str) -> None:
        want, _ = expected(self.ref, self.c.x)
        if not isinstance(want, np.ndarray) or want.dtype.kind != "f":
            want = np.zeros((2, 3))
        name = f"{self.name}; out: {kind}"
        self.examples.trying(name)
        out = np.full(want.shape, 7, want.dtype)
        if kind.startswith("over"):
            out = {"over x": self.c.x, "over W": self.c.weights[0][0]}.get(kind, self.c.weights[-1][1])
            if kind != "over x" and not holds(self.c.fast, out):
                return  # an array of a layer that has been taken out is the caller's
            kept = out.copy()
        else:
            out, _ = OUTS[kind](self.c, out)
            kept = None
        with no_hang(FOREVER):
            check_out(Case(self.name, self.c.fast, self.ref, self.c.x, []), self.c.x, out, None, name)
        if kept is not None:
            np.testing.assert_array_equal(out, kept, f"{name}: an input was overwritten")

    @rule()
    def compile(self) -> None:
        """Refused in words, or made."""
        name = f"{self.name}; compiled"
        self.examples.trying(name)
        kinds = self.kinds_of_error()
        with no_hang(FOREVER):
            for make in (fastnet.njit_predict, lambda net: fastnet.cfunc_predict(net, "row")):
                _, error = outcome(make, self.c.fast)
                assert error is None or type(error) in kinds, f"{name}: {error!r}"
                assert error is None or str(error), f"{name}: no word of what is wrong"

    @rule(batch=st.sampled_from([0, 1, 7, 10**6, 1 << 60]))
    def explain(self, batch: int) -> None:
        name = f"{self.name}; explained for {batch} rows"
        self.examples.trying(name)
        with no_hang(FOREVER):
            _, error = outcome(fastnet.explain, self.c.fast, batch, self.dtype)
        assert error is None or type(error) in self.kinds_of_error(), f"{name}: {error!r}"

    def kinds_of_error(self) -> tuple[type, ...]:
        """What `explain` and the like may raise: of no inputs and many outputs, and an object's own."""
        _, refusal = expected(self.ref, self.c.x)
        return (*REFUSALS, MemoryError, type(refusal))


def run_groups(examples: Any, groups: Sequence[str]) -> None:
    """Methods of `examples` by name, each with so many of them, and the count of all."""
    for group in groups:
        name, _, number = group.partition(":")
        getattr(examples, name)(
            settings(
                max_examples=int(number),
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
        )
    examples.notebook.close()


def main(notes: str, *groups: str) -> None:
    """Each group is its name, a colon, and how many examples."""
    examples = Examples(Notebook(notes))
    for dtype in KERNEL_DTYPES:  # compiled before anybody waits for an answer
        net = case("Sequential2", dtype).fast
        fastnet.explain(net, 3, dtype)
        fastnet.cfunc_predict(net, "row")
    run_groups(examples, groups)


if __name__ == "__main__":
    main(*sys.argv[1:])
