"""Networks as objects: what they hold, how they copy, and layers that are not fastnet's."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import fastnet
from fastnet import reference
from tests.cases import KERNEL_DTYPES, LABELS, NETS, Loop, case
from tests.compare import answer, expected, outcome, same, same_case


@pytest.mark.parametrize("sizes", [(2, 4, 3), (1, 1, 1), (0, 2, 0)], ids=str)
def test_same_seed_same_network(sizes):
    np.random.seed(11)
    ref, after_ref = reference.TwoLayerNet(*sizes), np.random.random()
    np.random.seed(11)
    fast, after_fast = fastnet.TwoLayerNet(*sizes), np.random.random()
    for got, want in zip(fast.params, ref.params, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)
    assert after_fast == after_ref, "another number of draws"
    same(fast, ref, np.ones((3, sizes[0])), f"TwoLayerNet{sizes}")


@pytest.mark.parametrize("sizes", [(2, 4), (2, 4, -1), (2.5, 4, 3), ("2", 4, 3), (None, 4, 3)], ids=str)
def test_refused_sizes(sizes):
    _, refusal = outcome(reference.TwoLayerNet, *sizes)
    _, error = outcome(fastnet.TwoLayerNet, *sizes)
    assert refusal is not None, "the reference accepts this"
    assert type(error) is type(refusal), f"{error!r}, the reference {refusal!r}"


def test_two_layer_net_holds_the_arrays_of_its_layers():
    net = fastnet.TwoLayerNet(2, 4, 3)
    assert [type(layer) for layer in net.layers] == [fastnet.Affine, fastnet.Sigmoid, fastnet.Affine]
    held = [p for layer in net.layers for p in layer.params]
    assert len(net.params) == len(held) == 4
    assert all(a is b for a, b in zip(net.params, held, strict=True))


def test_layers_hold_what_they_were_given():
    W, b = np.ones((2, 3)), [1, 2, 3]
    for layer in (fastnet.Affine(W, b), fastnet.AffineSigmoid(W, b)):
        assert isinstance(layer.params, list)
        assert [id(p) for p in layer.params] == [id(W), id(b)]
    assert fastnet.Sigmoid().params == []


def test_sequential_holds_layers_and_params():
    layers = [
        fastnet.Affine(np.ones((2, 3)), np.ones(3)),
        fastnet.Sigmoid(),
        fastnet.Affine(np.ones((3, 1)), 0.5),
    ]
    net = fastnet.Sequential(layers)
    assert isinstance(net.layers, list)
    assert [id(layer) for layer in net.layers] == [id(layer) for layer in layers]
    assert [id(p) for p in net.params] == [id(p) for layer in layers for p in layer.params]


@pytest.mark.parametrize(
    "x", [np.ones((2, 3)), np.ones(3, "float16"), [1, 2], 5], ids=["2-d", "1-d", "list", "int"]
)
def test_empty_sequential_is_the_loop_over_nothing(x):
    got = fastnet.Sequential([]).predict(x)
    assert type(got) is type(x)
    np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"]
)
def test_copied_and_pickled(label, twin):
    """After a first call, whatever that left on the object; the copy has weights of its own."""
    c = case(label, "float32", (5, 9, 3))
    before = answer(c.fast)(c.x)
    other = twin(c.fast)
    np.testing.assert_array_equal(answer(other)(c.x), before, c.name)
    for _, a in list(c.arrays())[1:]:
        a[...] = 0
    np.testing.assert_array_equal(answer(other)(c.x), before, c.name)


# layers of the user's own


class Scale:
    """A user's layer: nothing but ``forward``, and it remembers what it was called with."""

    lipschitz = 2.0

    def __init__(self):
        self.seen = []

    def forward(self, x):
        self.seen.append((type(x), x.dtype, x.shape))
        return 2 * x


class Minus:
    lipschitz = 1.0

    def forward(self, x):
        return -x


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16", "int64"])
@pytest.mark.parametrize("at", range(6))
def test_users_layer_in_sequential(at, dtype):
    for lead in [(7,), (), (2, 3), (300,)]:
        c = case("Sequential3", dtype, (5, 9, 3), lead)
        fast, ref = Scale(), Scale()
        c.fast.layers.insert(at, fast)
        c.ref.layers.insert(at, ref)
        expected(c.ref, c.x)
        calls = ref.seen.copy()
        same_case(c)
        assert len(calls) == 1
        assert fast.seen == calls, f"{c.name} at {at}: called another way"


def test_users_layer_given_at_construction():
    c = case("Sequential2")
    same(fastnet.Sequential([*c.fast.layers, Scale()]), Loop([*c.ref.layers, Scale()]), c.x, c.name)


@pytest.mark.parametrize("at", range(4))
def test_users_layer_in_two_layer_net(at):
    c = case("TwoLayerNet")
    c.fast.layers.insert(at, Scale())
    c.ref.layers.insert(at, Scale())
    same(c.fast, Loop(c.ref.layers), c.x, f"{c.name} at {at}")


def test_anything_with_forward_is_a_layer():
    c = case("Sequential2")
    c.fast.layers[1] = SimpleNamespace(forward=lambda x: -x)
    c.ref.layers[1] = Minus()
    same_case(c)
    c.fast.layers[1] = c.ref.layers[1] = object()
    assert isinstance(same_case(c), AttributeError)


@pytest.mark.parametrize("lead", [(7,), (), (2, 3)], ids=str)
def test_networks_nest(lead):
    inner, outer = case("Sequential2", sizes=(9, 4, 9)), case("Sequential2", lead=lead)
    outer.fast.layers.insert(1, inner.fast)
    outer.ref.layers.insert(1, inner.ref)
    same_case(outer)


@pytest.mark.parametrize("rings", [1, 2])
def test_a_network_that_contains_itself(rings):
    """Endless for the reference, too: the same error, and the network is as good as before once it is out."""
    c = case("Sequential2", sizes=(9, 4, 9))
    before = c.fast.predict(c.x)
    for _ in range(rings):
        c.fast.layers.append(c.fast)
        c.ref.layers.append(c.ref)
        assert isinstance(same_case(c), RecursionError)
    del c.fast.layers[-rings:]
    np.testing.assert_array_equal(c.fast.predict(c.x), before)


@pytest.mark.parametrize("label", NETS)
def test_sequential_forward_is_predict(label):
    c = case(label)
    if label != "TwoLayerNet":
        np.testing.assert_array_equal(c.fast.forward(c.x), c.fast.predict(c.x), c.name)


class MinusAffine(fastnet.Affine):
    def forward(self, x):
        return -super().forward(x)


class MinusSigmoid(fastnet.Sigmoid):
    def forward(self, x, out=None):
        return -super().forward(x)


class MinusAffineSigmoid(fastnet.AffineSigmoid):
    def forward(self, x):
        return -super().forward(x)


class PlainAffine(fastnet.Affine):
    """A subclass that overrides nothing."""


@pytest.mark.parametrize("at", range(5))
def test_subclass_with_its_own_forward(at):
    """Honoured before a sigmoid, after an affine, first and last: never fused away."""
    c = case("Sequential3")
    layer = c.fast.layers[at]
    c.fast.layers[at] = MinusAffine(*layer.params) if layer.params else MinusSigmoid()
    c.ref.layers[at : at + 1] = [c.ref.layers[at], Minus()]
    same(c.fast, c.ref, c.x, f"{c.name} at {at}")


@pytest.mark.parametrize("at", range(2))
def test_subclass_of_the_fused_layer(at):
    c = case("SequentialFused")
    W, b = c.fast.layers[at].params
    c.fast.layers[at] = MinusAffineSigmoid(W, b)
    c.ref.layers[at : at + 1] = [reference.Affine(W, b), reference.Sigmoid(), Minus()]
    same_case(c)


def test_subclass_that_overrides_nothing():
    c = case("Sequential2")
    c.fast.layers[0] = PlainAffine(*c.fast.layers[0].params)
    same_case(c)


@pytest.mark.parametrize("label", NETS)
def test_forward_replaced_on_an_instance(label):
    c = case(label, sizes=(5, 5, 5))
    answer(c.fast)(c.x)
    for at in range(len(c.fast.layers)):
        c.fast.layers[at].forward = Minus().forward
        c.ref.layers[at] = Minus()
        same(c.fast, Loop(c.ref.layers), c.x, f"{c.name} up to {at}")
