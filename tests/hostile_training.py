"""Hostile training against the reference: ``python -m tests.hostile_training NOTEBOOK GROUP:EXAMPLES...``.

The answer is the reference's, or an error is raised and no parameter has changed; then a healthy step works.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from hypothesis import given, note, settings
from hypothesis import strategies as st

import fastnet
from fastnet import reference
from tests.hostile import FOREVER, run_groups
from tests.isolation import Notebook, no_hang
from tests.poisons import ARRAYS, CHANGING, SUBCLASSES
from tests.training_options import OPTIONS, PLAIN
from tests.training_pairs import (
    LOSSES,
    OPTIMIZERS,
    VALUES,
    Pair,
    allowed,
    close,
    frozen,
    gradients,
    half_written,
    kept_gradients,
    largest,
    loop,
    params,
    poisoned,
    quiet,
)

dtypes = st.sampled_from(["float32", "float64"])
sides = st.one_of(st.sampled_from([1, 2, 3, 4, 7, 16, 33]), st.integers(1, 20))
sizes = st.tuples(sides, sides, sides)
row_counts = st.sampled_from([1, 2, 7, 32, 33, 71])
losses = st.sampled_from(LOSSES)
optimizers = st.sampled_from(list(OPTIMIZERS))
places = st.lists(st.integers(0, 40), min_size=5, max_size=5)
middles = st.sampled_from(["Sigmoid", "Tanh", "ReLU", "Softmax"])
poisons = st.one_of(st.just("none"), st.sampled_from(list(ARRAYS)), st.sampled_from([*VALUES, "read-only"]))


class Examples:
    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook

    def trying(self, name: str) -> None:
        note(name)
        self.notebook.trying(name)

    def healthy(self, pair: Pair, name: str) -> None:
        """A step after all that: that of the reference."""
        pair.heal()
        results = []
        for net, lib in zip(pair.nets, (fastnet, reference), strict=True):
            loss, dx = net.forward(pair.x, pair.t), net.backward()
            lib.SGD(0.1).update(params(net), gradients(net))
            results.append([np.asarray(loss), dx, *gradients(net), *params(net)])
        scale = largest(pair.x, *pair.weights)
        for got, want in zip(*results, strict=True):
            close(got, want, scale, f"{name}, then a healthy step", pair.dtype)

    def steps(self, examples: settings) -> None:
        """forward, backward and update, with a poison in x, t, a parameter or an array of gradients."""

        @examples
        @given(
            dtypes, sizes, row_counts, middles, losses, optimizers, st.booleans(),
            st.lists(st.tuples(st.integers(0, 9), poisons), min_size=1, max_size=2, unique_by=lambda p: p[0]),
        )  # fmt: skip
        def test(dtype, shape, rows, middle, loss, optimizer, before, places):
            pair = Pair(dtype, shape, rows, middle, loss)
            name = f"{pair!r}, {optimizer}: {places}, {before}"
            self.trying(name)
            with no_hang(FOREVER):
                if before:
                    for net in pair.nets:
                        net.forward(pair.x, pair.t)
                        net.backward()
                self.step(pair, optimizer, dict(places), name)
                self.healthy(pair, name)

        test()

    def step(self, pair: Pair, optimizer: str, places: dict[int, str], name: str) -> None:
        changing = bool(CHANGING & set(places.values()))
        x, t = ([poisoned(places.get(i, "none"), a) for _ in "fr"] for i, a in ((0, pair.x), (1, pair.t)))
        for place, kind in places.items():
            if 2 <= place < 6:
                pair.poison(place - 2, kind)
        for net in pair.nets:
            for place in range(6, 10):
                layer, which = net.layers[(place - 6) // 2 * 2], place % 2
                grads = quiet(lambda layer=layer: layer.grads)[0]
                if place in places and grads is not None:
                    grads[which] = poisoned(places[place], np.full_like(pair.weights[place - 6], 7))
                elif grads is not None and grads[which].dtype.kind == "f":
                    grads[which].fill(7)
        scale = largest(x[1], *pair.weights, *params(pair.nets[1]))
        libs = (fastnet, reference)
        steps = [
            lambda i: pair.nets[i].forward(x[i], t[i]),
            lambda i: pair.nets[i].backward(),
            lambda i: getattr(libs[i], optimizer)(*OPTIMIZERS[optimizer]).update(
                params(pair.nets[i]), gradients(pair.nets[i])
            ),
        ]
        for step in steps:
            before, gradient_bits = frozen(params(pair.nets[0])), kept_gradients(pair.nets[0])
            want, refusal = quiet(step, 1)
            got, error = quiet(step, 0)
            if error is not None:
                allowed(error, refusal, name, x[0], t[0], *params(pair.nets[0]))
                assert frozen(params(pair.nets[0])) == before, f"{name}: changed before {error!r}"
                assert not half_written(gradient_bits, kept_gradients(pair.nets[0])), (
                    f"{name}: gradients before {error!r}"
                )
                return
            if refusal is not None or changing:
                return
            if want is not None and not isinstance(want, np.ma.MaskedArray):
                close(got, want, scale, name, pair.dtype)
        for mine, theirs in zip(*map(gradients, pair.nets), strict=True):
            close(mine, theirs, scale, f"{name}: gradients", pair.dtype)
        if optimizer == "SGD":  # the others divide by what may be rounding errors
            for mine, theirs in zip(*map(params, pair.nets), strict=True):
                close(mine, theirs, scale, f"{name}: params", pair.dtype)

    def fits(self, examples: settings) -> None:
        """`fit` with poisons in x, t or a parameter, and with other arguments than it takes."""

        @examples
        @given(
            dtypes, sizes, row_counts, middles, losses, st.integers(-1, 5), poisons,
            st.lists(st.sampled_from(list(OPTIONS)), max_size=2, unique=True), st.data(),
        )  # fmt: skip
        def test(dtype, shape, rows, middle, loss, place, poison, names, data):
            pair = Pair(dtype, shape, rows, middle, loss)
            options = {"epochs": "2", "batch_size": "7", "optimizer": "SGD", "seed": "0"}
            options |= {n: data.draw(st.sampled_from(list(OPTIONS[n]))) for n in names}
            name = f"fit, {pair!r}, {place}: {poison}, {options}"
            self.trying(name)
            with no_hang(FOREVER):
                self.fit(pair, place, poison, options, name)
                self.healthy(pair, name)

        test()

    def fit(self, pair: Pair, place: int, poison: str, options: dict[str, str], name: str) -> None:
        x, t = (poisoned(poison if place == i else "none", a) for i, a in enumerate((pair.x, pair.t)))
        if place >= 2:
            pair.poison(place - 2, poison)
        net, calls, pair.given = pair.nets[0], [], t
        made = {option: OPTIONS[option][key](pair) for option, key in options.items()}
        change = made.get("callback")
        if callable(change):
            made["callback"] = lambda history: calls.append(history) or change(net, made["optimizer"])
        before = frozen(params(net))
        _, error = quiet(fastnet.fit, net, x, t, **made)
        if error is not None:
            if not (
                (isinstance(error, KeyError) and calls)
                or isinstance(error, ZeroDivisionError | OverflowError)
            ):
                allowed(error, None, name, x, t)
            if not calls and not isinstance(error, FloatingPointError):
                assert frozen(params(net)) == before, f"{name}: changed before {error!r}"
        elif poison not in CHANGING | SUBCLASSES.keys() | {"far apart"} and set(options.values()) <= PLAIN:
            twin = pair.nets[1]
            optimizer = reference.SGD(0.1 if options["optimizer"] == "SGD" else 0.01)
            rows, targets = np.asarray(x, pair.dtype), np.asarray(t)
            quiet(loop, twin, rows, targets, int(made["epochs"]), int(made["batch_size"]), optimizer)
            scale = 100 * largest(rows, *pair.weights, *params(twin))
            for mine, theirs in zip(params(net), params(twin), strict=True):
                close(mine, theirs, scale, name, pair.dtype)

    def overlaps(self, examples: settings) -> None:
        """Parameters, gradients, states and inputs that lie over each other in one piece of memory."""

        @examples
        @given(
            dtypes,
            st.tuples(*[st.integers(1, 4)] * 3),
            st.lists(st.integers(0, 40), min_size=5, max_size=5),
            optimizers,
        )
        def test(dtype, shape, at, optimizer):
            name = f"overlaps: {dtype}, {shape} at {at}, {optimizer}"
            self.trying(name)
            with no_hang(FOREVER):
                overlapping_gradients(dtype, shape, at, name)
                overlapping_step(dtype, shape, at, optimizer, name)

        test()


def pieces(memory: np.ndarray, shapes: list[tuple[int, ...]], at: list[int]) -> list[np.ndarray]:
    return [memory[i : i + int(np.prod(s))].reshape(s) for s, i in zip(shapes, at, strict=True)]


def overlapping_gradients(dtype: str, shape: Any, at: list[int], name: str) -> None:
    rows, fan_in, fan_out = shape
    shapes: list[tuple[int, ...]] = [
        (rows, fan_in),
        (fan_in, fan_out),
        (rows, fan_out),
        (fan_in, fan_out),
        (fan_out,),
    ]
    memory = np.linspace(-1, 1, 60).astype(dtype)
    x, W, dout, dW, db = pieces(memory, shapes, at)
    layer = fastnet.Affine(W, np.zeros(fan_out, dtype))
    layer.grads[:] = dW, db
    if np.shares_memory(dW, db):
        return
    want = [dout @ W.T, x.T @ dout, dout.sum(axis=0)]
    layer.forward(x)
    for got, expected in zip([layer.backward(dout), dW, db], want, strict=True):
        close(got, expected, 4.0, name)


def overlapping_step(dtype: str, shape: Any, at: list[int], optimizer: str, name: str) -> None:
    found = []
    for lib in (fastnet, reference):
        memory = np.linspace(0.1, 1, 60).astype(dtype)
        p, g, m, v, other = pieces(memory, [shape[:2]] * 4 + [shape[1:]], at)
        step = getattr(lib, optimizer)(*OPTIMIZERS[optimizer])
        if optimizer != "SGD":
            step.m, step.v = [m, np.zeros_like(other)], [v, np.zeros_like(other)]
        with np.errstate(all="ignore"):
            step.update([p, other], [g, other])
        found.append(memory)
    np.testing.assert_array_equal(*found, err_msg=name)


def main(notes: str, *groups: str) -> None:
    """Each group is its name, a colon, and how many examples."""
    examples = Examples(Notebook(notes))
    for dtype in ("float32", "float64"):  # compiled before anybody waits for an answer
        pair = Pair(dtype, (3, 4, 2), 5, "Tanh", "SoftmaxWithLoss")
        fastnet.fit(pair.nets[0], pair.x, pair.t)
        examples.healthy(pair, "first")
    run_groups(examples, groups)


if __name__ == "__main__":
    main(*sys.argv[1:])
