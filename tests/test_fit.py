"""``fit``: the weights, to the bit, of a loop step by step; its history, its ends, what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastnet
from fastnet import epochs, shared_steps, threads
from tests.cases import LAYOUTS
from tests.test_bits import DTYPES, bits

LOSSES = {
    "classes": fastnet.SoftmaxWithLoss,
    "probabilities": fastnet.SoftmaxWithLoss,
    "sigmoid": fastnet.SigmoidWithLoss,
    "squares": fastnet.MeanSquaredError,
}
OPTIMIZERS = {
    "SGD": lambda: fastnet.SGD(0.5),
    "Momentum": lambda: fastnet.Momentum(0.05, 0.8),
    "Adam": lambda: fastnet.Adam(0.01),
}


def affine(fan_in, fan_out, dtype, seed, kind=fastnet.Affine):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((fan_in, fan_out)) / max(fan_in, 1) ** 0.5
    return kind(W.astype(dtype), (0.1 * rng.standard_normal(fan_out)).astype(dtype))


def two_layers(sizes, dtype):
    fan_in, hidden, fan_out = sizes
    layers = [affine(fan_in, hidden, dtype, 1), fastnet.Sigmoid(), affine(hidden, fan_out, dtype, 2)]
    return fastnet.Sequential(layers)


def all_layers(sizes, dtype):
    """Every class of layers: activations alone, behind each other, a network in a network."""
    fan_in, hidden, fan_out = sizes
    inner = fastnet.Sequential([affine(hidden, hidden, dtype, 2), fastnet.Tanh(), fastnet.ReLU()])
    return fastnet.Sequential(
        [
            affine(fan_in, hidden, dtype, 1, fastnet.AffineSigmoid),
            inner,
            affine(hidden, 7, dtype, 3),
            fastnet.Softmax(),
            affine(7, hidden, dtype, 4),
            affine(hidden, fan_out, dtype, 5),
        ]
    )


def data(rows, sizes, dtype, target="classes", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, sizes[0])).astype(dtype)
    t = abs(x).argmax(axis=1) % sizes[-1] if sizes[0] else np.zeros(rows, np.int64)
    return x, t if target == "classes" else np.eye(sizes[-1], dtype=dtype)[t]


def loop(model, x, t, epochs, batch_size, optimizer, loss, seed):
    """Training as the book writes it."""
    generator, history = np.random.default_rng(seed), []
    model.loss_layer = loss()
    for _ in range(epochs):
        order, total = generator.permutation(len(x)), 0.0
        for i in range(0, len(x), batch_size):
            batch = order[i : i + batch_size]
            value = model.forward(x[batch], t[batch])
            model.backward()
            optimizer.update(model.params, model.grads)
            total += float(value) * len(batch)
        history.append(total / len(x))
    return history


def assert_same_bits(arrays, others):
    for one, other in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(bits(one), bits(other))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [two_layers, all_layers])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("target", LOSSES)
def test_the_bits_of_a_loop_step_by_step(target, optimizer, make, dtype):
    sizes, rows = (5, 10, 3), 71
    x, t = data(rows, sizes, dtype, target)
    for batch in (1, 7, 32, 1000):
        ours, theirs = make(sizes, dtype), make(sizes, dtype)
        one, other = OPTIMIZERS[optimizer](), OPTIMIZERS[optimizer]()
        history = fastnet.fit(
            ours, x, t, epochs=3, batch_size=batch, optimizer=one, loss=LOSSES[target], seed=4
        )
        expected = loop(theirs, x, t, 3, batch, other, LOSSES[target], 4)
        assert_same_bits(ours.params, theirs.params)
        assert history.loss == expected
        for name, value in vars(other).items():
            state = getattr(one, name)
            if isinstance(value, list):
                assert_same_bits(state, value)
            else:
                assert state == value, name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(2, 10, 3), (64, 32, 10), (30, 100, 2), (300, 130, 17)], ids=str)
def test_the_bits_of_other_sizes(sizes, dtype):
    x, t = data(150, sizes, dtype)
    ours, theirs = two_layers(sizes, dtype), two_layers(sizes, dtype)
    fastnet.fit(ours, x, t, epochs=2, batch_size=64, seed=1)
    loop(theirs, x, t, 2, 64, fastnet.SGD(), fastnet.SoftmaxWithLoss, 1)
    assert_same_bits(ours.params, theirs.params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [two_layers, all_layers])
@pytest.mark.parametrize("shuffle", [True, False])
def test_threads_do_not_change_a_bit(make, dtype, shuffle, monkeypatch):
    """Parts of steps are shared out, here even the smallest ones; each thread count has its own pieces."""
    sizes = (40, 129, 10)
    x, t = data(310, sizes, dtype)
    found, pieces, before = [], [], fastnet.get_num_threads()
    share = threads.in_pieces

    def in_pieces(function, context, rows, work):
        pieces.append(rows)
        return share(function, context, rows, work)

    monkeypatch.setattr(shared_steps, "in_pieces", in_pieces)
    monkeypatch.setattr(epochs, "_PAYS", -(1 << 40))
    monkeypatch.setattr(threads, "_PAYS", 1 << 12)
    try:
        for count in (1, 2, 3, 4):
            fastnet.set_num_threads(count)
            model, optimizer = make(sizes, dtype), fastnet.Adam()
            history = fastnet.fit(
                model, x, t, epochs=3, batch_size=150, optimizer=optimizer, seed=0, shuffle=shuffle
            )
            assert bool(pieces) == (count > 1), "one thread takes whole epochs"
            found.append((model.params, history.loss, optimizer.iter))
    finally:
        fastnet.set_num_threads(before)
    for params, losses, steps in found[1:]:
        assert_same_bits(params, found[0][0])
        assert losses == found[0][1]
        assert steps == found[0][2] == 9


@pytest.mark.parametrize(("sizes", "shared"), [((30, 100, 2), 0), ((784, 128, 10), 1)])
def test_steps_are_shared_where_what_they_hand_on_is_worth_it(sizes, shared, monkeypatch):
    """At 1024 rows a batch: else two threads are slower than one."""
    made = []

    class Noted(shared_steps.SharedSteps):
        def __init__(self, *args):
            made.append(args)
            super().__init__(*args)

    monkeypatch.setattr(epochs, "SharedSteps", Noted)
    before = threads._wanted
    fastnet.set_num_threads(2)
    try:
        net = fastnet.TwoLayerNet(*sizes)
        fastnet.fit(net, np.zeros((1024, sizes[0])), np.zeros(1024, int), 1, 1024, fastnet.SGD(0.01))
    finally:
        threads._wanted = before
    assert len(made) == shared


def test_a_loss_that_is_no_number_ends_shared_steps_too(monkeypatch):
    monkeypatch.setattr(epochs, "_PAYS", -(1 << 40))
    x, t = data(64, (2, 10, 3), float)
    targets = np.eye(3)[t]
    targets[40:] = 1e200
    found, before = [], fastnet.get_num_threads()
    try:
        for count in (1, 2):
            fastnet.set_num_threads(count)
            model = two_layers((2, 10, 3), float)
            with pytest.raises(FloatingPointError, match="the loss is inf in batch 5 of the epoch"):
                fastnet.fit(model, x, targets, batch_size=8, shuffle=False, loss="MeanSquaredError")
            found.append(model.params)
    finally:
        fastnet.set_num_threads(before)
    assert_same_bits(*found)


def test_seeds():
    x, t = data(50, (2, 10, 3), float)

    def weights(**keywords):
        model = two_layers((2, 10, 3), float)
        fastnet.fit(model, x, t, epochs=3, batch_size=7, **keywords)
        return model.params

    assert_same_bits(weights(seed=5), weights(seed=5))
    assert_same_bits(weights(seed=5), weights(seed=np.random.default_rng(5)))
    assert (weights(seed=5)[0] != weights(seed=6)[0]).any()
    assert (weights()[0] != weights()[0]).any()
    assert_same_bits(weights(shuffle=False), weights(shuffle=False, seed=1))


def test_rows_in_their_own_order():
    x, t = data(50, (2, 10, 3), float)
    ours, theirs = two_layers((2, 10, 3), float), two_layers((2, 10, 3), float)
    fastnet.fit(ours, x, t, epochs=1, batch_size=20, shuffle=False)
    optimizer = fastnet.SGD()
    for i in (0, 20, 40):
        theirs.forward(x[i : i + 20], t[i : i + 20])
        theirs.backward()
        optimizer.update(theirs.params, theirs.grads)
    assert_same_bits(ours.params, theirs.params)


@pytest.mark.parametrize("layout", ["F", "strided", "padded", "reversed", "misaligned", "offset"])
def test_parameters_of_any_layout_are_changed_in_place(layout):
    x, t = data(50, (5, 10, 3), float)
    plain, other = two_layers((5, 10, 3), float), two_layers((5, 10, 3), float)
    for layer in (other.layers[0], other.layers[2]):
        layer.params[:] = [LAYOUTS[layout](p) for p in layer.params]
    held = [p for layer in other.layers for p in layer.params]
    for model in (plain, other):
        fastnet.fit(model, x, t, epochs=2, seed=0)
    assert_same_bits(plain.params, held)
    assert all(p is q for p, q in zip(held, (q for n in other.layers for q in n.params), strict=True))
    np.testing.assert_array_equal(bits(plain.predict(x)), bits(other.predict(x)))


def test_what_else_numpy_would_take():
    x, t = data(50, (5, 10, 3), float)
    wanted = two_layers((5, 10, 3), float)
    fastnet.fit(wanted, x, t, seed=0)
    column = x.copy()
    column.flags.writeable = False
    for rows, targets in ((x.tolist(), t.tolist()), (np.asfortranarray(x), t.astype(np.uint8)), (column, t)):
        model = two_layers((5, 10, 3), float)
        fastnet.fit(model, rows, targets, seed=0)
        assert_same_bits(model.params, wanted.params)
    whole = two_layers((5, 10, 3), float)
    fastnet.fit(whole, np.ones((4, 5), np.int8), np.ones(4, np.int64), epochs=1)
    fastnet.fit(whole, x.astype(np.float32), t, epochs=1)


def test_optimizers_and_losses_by_name_and_class():
    x, t = data(50, (2, 10, 3), float)
    found = []
    for optimizer in ("Adam", fastnet.Adam, fastnet.Adam()):
        for loss in ("SoftmaxWithLoss", fastnet.SoftmaxWithLoss, fastnet.SoftmaxWithLoss(), None):
            if isinstance(optimizer, fastnet.Adam):
                optimizer = fastnet.Adam()
            model = two_layers((2, 10, 3), float)
            fastnet.fit(model, x, t, optimizer=optimizer, loss=loss, seed=0)
            found.append(model.params)
    for params in found:
        assert_same_bits(params, found[0])


def test_an_optimizer_goes_on_where_it_was():
    x, t = data(64, (2, 10, 3), float)
    once, twice = two_layers((2, 10, 3), float), two_layers((2, 10, 3), float)
    first, second, generator = fastnet.Adam(), fastnet.Adam(), np.random.default_rng(3)
    fastnet.fit(once, x, t, epochs=4, optimizer=first, seed=3)
    for _ in range(2):
        fastnet.fit(twice, x, t, epochs=2, optimizer=second, seed=generator)
    assert first.iter == second.iter == 8
    assert_same_bits(once.params, twice.params)


def test_it_learns():
    rng = np.random.default_rng(0)
    t = np.arange(300) % 3
    radius = np.arange(300) / 300
    angle = 4 * radius + 4 * t + 0.1 * rng.standard_normal(300)
    x = np.c_[radius * np.sin(angle), radius * np.cos(angle)]
    model = two_layers((2, 16, 3), float)
    history = fastnet.fit(
        model, x, t, epochs=400, batch_size=30, optimizer=fastnet.Adam(0.02), seed=0, validation=(x, t)
    )
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert history.validation_accuracy[-1] > 0.95


def test_history_of_validation():
    x, t = data(60, (4, 8, 3), float)
    held, wanted = data(20, (4, 8, 3), float, seed=1)
    model = two_layers((4, 8, 3), float)
    history = fastnet.fit(model, x, t, epochs=2, seed=0, validation=(held, wanted))
    assert len(history) == len(history.validation_loss) == len(history.validation_accuracy) == 2
    scores = model.predict(held)
    assert history.validation_loss[-1] == fastnet.SoftmaxWithLoss().forward(scores, wanted)
    assert history.validation_accuracy[-1] == (scores.argmax(axis=1) == wanted).mean()
    assert not history.stopped
    binary = two_layers((4, 8, 1), float)
    history = fastnet.fit(
        binary, x, t > 0, epochs=1, loss=fastnet.SigmoidWithLoss, validation=(held, wanted > 0)
    )
    assert history.validation_accuracy == [((binary.predict(held)[:, 0] > 0) == (wanted > 0)).mean()]
    history = fastnet.fit(binary, x, t, epochs=1, loss="MeanSquaredError", validation=(held, wanted))
    assert history.validation_accuracy == []
    np.testing.assert_allclose(history.validation_loss, ((binary.predict(held)[:, 0] - wanted) ** 2).mean())


def test_the_callback_ends_it():
    x, t = data(50, (2, 10, 3), float)
    seen = []

    def callback(history):
        seen.append(list(history.loss))
        return len(history) == 3

    history = fastnet.fit(two_layers((2, 10, 3), float), x, t, epochs=10, callback=callback, seed=0)
    assert [len(losses) for losses in seen] == [1, 2, 3]
    assert history.stopped
    assert history.loss == seen[-1]


def test_rates_may_change_between_epochs():
    x, t = data(50, (2, 10, 3), float)
    optimizer, model = fastnet.SGD(0.5), two_layers((2, 10, 3), float)

    def stand_still(history):
        optimizer.lr = 0.0
        stand_still.weights = model.params[0].copy()

    fastnet.fit(model, x, t, epochs=2, optimizer=optimizer, callback=stand_still)
    assert (model.params[0] == stand_still.weights).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_of_the_callback_leaves_whole_steps(error):
    x, t = data(50, (2, 10, 3), float)
    ours, theirs, optimizer = two_layers((2, 10, 3), float), two_layers((2, 10, 3), float), fastnet.Adam()

    def callback(history):
        if len(history) == 2:
            raise error

    with pytest.raises(error):
        fastnet.fit(ours, x, t, epochs=5, optimizer=optimizer, seed=0, callback=callback)
    fastnet.fit(theirs, x, t, epochs=2, optimizer=fastnet.Adam(), seed=0)
    assert optimizer.iter == 4
    assert_same_bits(ours.params, theirs.params)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals of that kind")
def test_an_interrupt_is_noticed_soon_and_leaves_whole_steps():
    sizes = (300, 200, 10)
    x, t = data(4000, sizes, float)
    model, optimizer = two_layers(sizes, float), fastnet.Adam(1e-4)
    fastnet.fit(model, x[:64], t[:64], epochs=1, optimizer=optimizer)
    began = optimizer.iter
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        fastnet.fit(model, x, t, epochs=100_000, batch_size=20, optimizer=optimizer)
    assert time.perf_counter() - start < 20
    timer.join()
    assert optimizer.iter > began
    assert all(np.isfinite(p).all() for p in model.params)
    history = fastnet.fit(model, x[:64], t[:64], epochs=1, optimizer=optimizer)
    assert np.isfinite(history.loss).all()


@pytest.mark.parametrize("kind", ["Momentum", "Adam"])
def test_a_callback_that_drops_the_state_of_the_optimizer(kind):
    """What an epoch works on stays alive until the end."""
    x, t = data(40, (5, 10, 3), np.float64)
    found = []
    for drops in (False, True):
        model, optimizer, kept = two_layers((5, 10, 3), np.float64), OPTIMIZERS[kind](), []

        def callback(history, drops=drops, optimizer=optimizer, kept=kept):
            if drops and optimizer.v:
                kept.extend(np.full_like(a, np.nan) for a in optimizer.v for _ in range(20))
                optimizer.v.clear()
                kept.extend(np.full_like(a, np.nan) for a in kept[:80])

        fastnet.fit(model, x, t, epochs=5, optimizer=optimizer, seed=0, callback=callback)
        found.append(model.params)
        assert all(np.isnan(a).all() for a in kept)
    assert_same_bits(*found)


def test_an_interrupt_at_the_end_of_an_epoch_leaves_whole_steps(monkeypatch):
    """While what has been trained in copies goes back into the parameters."""
    x, t = data(40, (5, 10, 3), np.float64)
    model, optimizer = two_layers((5, 10, 3), np.float64), fastnet.Adam(0.01)
    twin, other = two_layers((5, 10, 3), np.float64), fastnet.Adam(0.01)
    for layer in model.layers[::2]:
        layer.params[0] = np.asfortranarray(layer.params[0])
    settle, calls = epochs.Epochs._settle, []

    def interrupted(self):
        calls.append(self)
        if len(calls) == 1:
            raise KeyboardInterrupt
        settle(self)

    monkeypatch.setattr(epochs.Epochs, "_settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fastnet.fit(model, x, t, epochs=2, optimizer=optimizer, seed=0)
    monkeypatch.undo()
    fastnet.fit(twin, x, t, epochs=1, optimizer=other, seed=0)
    assert_same_bits([p for layer in model.layers for p in layer.params], twin.params)
    assert optimizer.iter == other.iter


def test_other_threads_run_meanwhile():
    sizes = (100, 200, 10)
    x, t = data(20_000, sizes, np.float32)
    model = two_layers(sizes, np.float32)
    fastnet.fit(model, x[:10], t[:10], epochs=1)
    counted, ending = [0], threading.Event()

    def count():
        while not ending.is_set():
            counted[0] += 1
            time.sleep(1e-4)  # gives the lock back

    before = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    thread.start()
    try:
        sys.setswitchinterval(100)  # whoever holds the lock keeps it, unless it is released
        start = counted[0]
        fastnet.fit(model, x, t, epochs=1, batch_size=100)
        assert counted[0] > start
    finally:
        sys.setswitchinterval(before)
        ending.set()
        thread.join()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_loss_that_is_no_number_ends_it(optimizer):
    x, t = data(64, (2, 10, 3), float)
    model, chosen = two_layers((2, 10, 3), float), OPTIMIZERS[optimizer]()
    chosen.lr = 1e308
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) in batch \d+ of the epoch"):
        fastnet.fit(model, x * 1e10, t, epochs=50, batch_size=8, optimizer=chosen, loss=None, seed=0)
    if optimizer == "Adam":
        assert chosen.iter >= 1


def test_nothing_is_updated_after_the_last_finite_loss():
    """The sixth batch of eight has errors whose squares overflow."""
    x, t = data(64, (2, 10, 3), float)
    targets = np.eye(3)[t]
    targets[40:] = 1e200
    ours, theirs = two_layers((2, 10, 3), float), two_layers((2, 10, 3), float)
    with pytest.raises(FloatingPointError, match="the loss is inf in batch 5 of the epoch"):
        fastnet.fit(ours, x, targets, epochs=1, batch_size=8, shuffle=False, loss="MeanSquaredError")
    fastnet.fit(theirs, x[:40], targets[:40], epochs=1, batch_size=8, shuffle=False, loss="MeanSquaredError")
    assert_same_bits(ours.params, theirs.params)


REFUSED = {
    "x of three axes": (ValueError, "x must be of shape", {"x": np.zeros((4, 2, 1))}),
    "x of another width": (ValueError, "x must be of shape", {"x": np.zeros((4, 3))}),
    "x of one axis": (ValueError, "x must be of shape", {"x": np.zeros(2)}),
    "no rows": (ValueError, "has no rows", {"x": np.zeros((0, 2)), "t": np.zeros(0, np.int64)}),
    "x with NaN": (ValueError, "NaN or infinite", {"x": np.full((4, 2), np.nan)}),
    "x with infinity": (ValueError, "NaN or infinite", {"x": np.array([[0, -np.inf]] * 4)}),
    "x of complex numbers": (TypeError, "x has dtype complex128", {"x": np.zeros((4, 2), complex)}),
    "x of words": (TypeError, "x has dtype", {"x": np.full((4, 2), "a")}),
    "x of long doubles": (TypeError, "x has dtype", {"x": np.zeros((4, 2), np.longdouble)}),
    "t of another length": (ValueError, "t must be of shape", {"t": np.zeros(3, np.int64)}),
    "t of another width": (ValueError, "t must be of shape", {"t": np.zeros((4, 2))}),
    "a class too large": (ValueError, r"t\[1\] is 3", {"t": np.array([0, 3, 0, 0])}),
    "a negative class": (ValueError, r"t\[0\] is -1", {"t": np.array([-1, 0, 0, 0])}),
    "classes of floats": (TypeError, "whole numbers", {"t": np.zeros(4)}),
    "t with NaN": (ValueError, "NaN or infinite", {"t": np.full((4, 3), np.nan)}),
    "batch_size 0": (ValueError, "batch_size must be at least 1, not 0", {"batch_size": 0}),
    "batch_size 1.5": (TypeError, "integer", {"batch_size": 1.5}),
    "epochs -1": (ValueError, "epochs must be at least 0, not -1", {"epochs": -1}),
    "another optimizer": (ValueError, "not 'sgd'", {"optimizer": "sgd"}),
    "an optimizer of another class": (TypeError, "not object", {"optimizer": object()}),
    "another loss": (ValueError, "not 'hinge'", {"loss": "hinge"}),
    "a loss of another class": (TypeError, "not int", {"loss": 3}),
    "validation of another width": (ValueError, "validation x must", {"validation": (np.zeros((4, 3)), [0])}),
    "validation without rows": (ValueError, "no rows", {"validation": (np.zeros((0, 2)), [])}),
    "a model of no network": (TypeError, "fit trains a Sequential", {"model": object()}),
    "one layer": (TypeError, "fit trains a Sequential", {"model": affine(2, 3, float, 0)}),
}  # fmt: skip


@pytest.mark.parametrize(("error", "text", "change"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_before_anything_changes(error, text, change):
    model, optimizer = two_layers((2, 10, 3), float), fastnet.Adam()
    before = [p.copy() for p in model.params]
    arguments = {"model": model, "x": np.ones((4, 2)), "t": np.zeros(4, np.int64), "optimizer": optimizer}
    with pytest.raises(error, match=text):
        fastnet.fit(**(arguments | change))
    assert_same_bits(model.params, before)
    assert (optimizer.iter, optimizer.m) == (0, None)


def changed(**changes):
    """A network whose parameters of these numbers are what a function makes of them."""
    model = two_layers((2, 10, 3), float)
    for name, change in changes.items():
        layer, which = model.layers[int(name[1])], "Wb".index(name[0])
        layer.params[which] = change(layer.params[which])
    return model


def tied():
    model = two_layers((10, 10, 10), float)
    model.layers[2].params[0] = model.layers[0].params[0]
    return model


class Doubled(fastnet.Affine):
    def forward(self, x, out=None):
        return 2 * super().forward(x)


def sequential(*layers):
    return lambda: fastnet.Sequential(layers)


def softmax_at_the_end():
    return fastnet.Sequential([*two_layers((2, 10, 3), float).layers, fastnet.Softmax()])


MODELS = {
    "read-only W": (ValueError, "W of layer 0 .* read-only", lambda: changed(W0=LAYOUTS["read-only"])),
    "a list": (TypeError, "b of layer 2 must be an ndarray", lambda: changed(b2=list)),
    "integers": (TypeError, "float64, not int64", lambda: changed(W0=lambda p: p.astype(int))),
    "two dtypes": (TypeError, "W of layer 2 has dtype float32", lambda: changed(W2=np.float32)),
    "one bias for all": (ValueError, "b of layer 0 has shape", lambda: changed(b0=lambda p: p[:1].copy())),
    "NaN": (ValueError, "W of layer 0 has NaN", lambda: changed(W0=lambda p: p * np.nan)),
    "shared weights": (ValueError, "share memory", tied),
    "shapes": (ValueError, "W of layer 2 has shape", lambda: changed(W2=lambda p: p[:5].copy())),
    "no layers": (ValueError, "no layers", sequential()),
    "an activation first": (ValueError, "start with an Affine", sequential(fastnet.ReLU())),
    "a layer of the user": (TypeError, "layer 0 is Doubled", sequential(Doubled(np.eye(2), np.zeros(2)))),
    "softmax twice": (ValueError, "ends with a Softmax", softmax_at_the_end),
    "no inputs": (ValueError, "nothing to train", sequential(affine(0, 3, float, 0))),
}


@pytest.mark.parametrize(("error", "text", "make"), MODELS.values(), ids=MODELS)
def test_networks_that_cannot_be_trained(error, text, make):
    model = make()
    before = [np.array(p) for p in model.params]
    with pytest.raises(error, match=text):
        fastnet.fit(model, np.ones((4, 2)), np.zeros(4, np.int64))
    assert_same_bits([np.asarray(p) for p in model.params], before)


def test_a_float32_network_refuses_float64_rows():
    model = two_layers((2, 10, 3), np.float32)
    with pytest.raises(TypeError, match="x has dtype float64, but the parameters have float32"):
        fastnet.fit(model, np.ones((4, 2)), np.zeros(4, np.int64))


def test_state_of_another_network_is_refused():
    x, t = data(20, (2, 10, 3), float)
    optimizer = fastnet.Momentum()
    fastnet.fit(two_layers((2, 10, 3), float), x, t, epochs=1, optimizer=optimizer)
    for sizes in ((2, 11, 3),):
        with pytest.raises(ValueError, match="does not fit a parameter"):
            fastnet.fit(two_layers(sizes, float), x, t, optimizer=optimizer)
    with pytest.raises(ValueError, match="4 arrays for 2 parameters"):
        fastnet.fit(fastnet.Sequential([affine(2, 3, float, 0)]), x, t, optimizer=optimizer)


def test_a_callback_that_cannot_be_called_is_told_before_anything_changes():
    x, t = data(40, (5, 10, 3), np.float64)
    model = two_layers((5, 10, 3), np.float64)
    before = [p.copy() for p in model.params]
    with pytest.raises(TypeError, match="callback must be callable, not int"):
        fastnet.fit(model, x, t, callback=3)
    assert_same_bits(model.params, before)


def test_a_parameter_whose_elements_overlap():
    x, t = data(40, (5, 10, 3), np.float64)
    model = two_layers((5, 10, 3), np.float64)
    whole = np.ones(14)
    model.layers[0].params[0] = np.lib.stride_tricks.as_strided(whole, (5, 10), (8, 8))
    with pytest.raises(ValueError, match="elements of W of layer 0 overlap"):
        fastnet.fit(model, x, t)
    assert (whole == 1).all()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda x, t: (x,), ValueError),
        (lambda x, t: (x, t, t), ValueError),
        (lambda x, t: x, TypeError),
        (lambda x, t: 3, TypeError),
    ],
)
def test_validation_that_is_no_pair(make, error):
    x, t = data(40, (5, 10, 3), np.float64)
    with pytest.raises(error, match=r"validation must be a pair \(x, t\)"):
        fastnet.fit(two_layers((5, 10, 3), np.float64), x, t, validation=make(x, t))


def test_no_epochs():
    x, t = data(20, (2, 10, 3), float)
    model = two_layers((2, 10, 3), float)
    before = [p.copy() for p in model.params]
    assert len(fastnet.fit(model, x, t, epochs=0)) == 0
    assert_same_bits(model.params, before)


def test_a_bar_on_a_terminal(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    told = []

    class Bar:
        def __init__(self, **keywords):
            told.append(keywords["total"])

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def update(self, count):
            told.append(count)

    x, t = data(20, (2, 10, 3), float)
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    fastnet.fit(two_layers((2, 10, 3), float), x, t, epochs=2, batch_size=8)
    assert told == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fastnet.fit(two_layers((2, 10, 3), float), x, t, epochs=2, batch_size=8)
    assert told == [6, 3, 3]


def test_predict_does_not_load_the_kernels_of_training():
    code = (
        "import sys, numpy as np, fastnet\n"
        "fastnet.TwoLayerNet(2, 4, 3).predict(np.ones((10, 2)))\n"
        "print([n for n in sys.modules if n.startswith('fastnet.kernels.') and 'train' in n])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
