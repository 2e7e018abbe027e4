"""Weights are read at every call: each test changes some after a first call and compares again."""

import warnings

import numpy as np
import pytest

import fastnet
from tests.cases import FAST, KERNEL_DTYPES, NETS, REFERENCE, WITH_WEIGHTS, case, draw_weights
from tests.compare import answer, same, same_case


def called(label, dtype="float64", sizes=(5, 9, 3), lead=(7,)):
    """A case that has answered once, and so has cached what it will."""
    c = case(label, dtype, sizes, lead)
    same_case(c)
    return c


def weighted(obj):
    return [layer for layer in getattr(obj, "layers", [obj]) if layer.params]


def both(c, change):
    """The same change to the layers with weights of the fastnet object and of its twin."""
    for obj in (c.fast, c.ref):
        change(weighted(obj))


def assert_changed(c, before):
    assert not np.array_equal(same_case(c), before), f"{c.name}: the change made no difference"


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_edited_in_place(label, dtype):
    c = called(label, dtype)
    for name, a in list(c.arrays())[1:]:
        before = answer(c.fast)(c.x)
        a[...] = a + 1
        assert_changed(c, before)
        before = answer(c.fast)(c.x)
        a.flat[-1] += 1
        c.name += f" {name} edited"
        assert_changed(c, before)


REBINDINGS = {
    "same shape": lambda W, b: (W + 1, b - 1),
    "lists": lambda W, b: (W.tolist(), b.tolist()),
    "tuples": lambda W, b: (tuple(map(tuple, W.tolist())), tuple(b.tolist())),
    "float32": lambda W, b: (W.astype("float32"), b.astype("float32")),
    "float64": lambda W, b: (W.astype("float64"), b.astype("float64")),
    "W float64": lambda W, b: (W.astype("float64"), b),
    "b float64": lambda W, b: (W, b.astype("float64")),
    "int": lambda W, b: (np.rint(W).astype("int64"), np.rint(b).astype("int32")),
    "float16": lambda W, b: (W.astype("float16"), b.astype("float16")),
    "complex": lambda W, b: (W.astype("complex64"), b),
    "object": lambda W, b: (W.astype(object), b.astype(object)),
    "scalar bias": lambda W, b: (W, 0.25),
    "row bias": lambda W, b: (W, b[None]),
    "F": lambda W, b: (np.asfortranarray(W), b),
    "transposed twice": lambda W, b: (W.T.copy().T, b),
    "transposed": lambda W, b: (W.T, b),
    "other fan_in": lambda W, b: (np.ones((W.shape[0] + 1, W.shape[1])), b),
    "other fan_out": lambda W, b: (np.ones((W.shape[0], W.shape[1] + 1)), b),
    "other bias": lambda W, b: (W, np.ones(b.size + 1)),
    "1-d": lambda W, b: (W[:, 0], b),
    "3-d": lambda W, b: (np.stack([W, W]), b),
    "None as W": lambda W, b: (None, b),
    "None as b": lambda W, b: (W, None),
    "text": lambda W, b: ("W", b),
    "swapped": lambda W, b: (b, W),
    "ragged": lambda W, b: ([[1.0], [1.0, 2.0]], b),
}


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("rebinding", REBINDINGS)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_rebound(label, rebinding, dtype):
    """Any layer's weights rebound, and back again."""
    for sizes in [(5, 9, 3), (5, 5, 5)]:
        for at in range(len(weighted(case(label).fast))):
            c = called(label, dtype, sizes)
            W, b = weighted(c.fast)[at].params
            new = REBINDINGS[rebinding](W, b)
            for values in (new, (W, b)):
                for obj in (c.fast, c.ref):
                    weighted(obj)[at].params[0] = values[0]
                    weighted(obj)[at].params[1] = values[1]
                same(c.fast, c.ref, c.x, f"{c.name} layer {at} {rebinding}")


PARAMS = {
    "none": lambda W, b: [],
    "one": lambda W, b: [W],
    "three": lambda W, b: [W, b, b],
    "None": lambda W, b: None,
    "number": lambda W, b: 2,
    "array": lambda W, b: W,
    "pair of rows": lambda W, b: np.ones((2, W.shape[0])),
    "tuple": lambda W, b: (W + 1, b),
    "new list": lambda W, b: [W + 1, b + 1],
    "text": lambda W, b: "Wb",
}


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_params_rebound(label, params):
    """``layer.params`` is unpacked into two at every call, whatever it is by then."""
    c = called(label)
    for obj in (c.fast, c.ref):
        layer = weighted(obj)[-1]
        layer.params = PARAMS[params](*layer.params)
    same(c.fast, c.ref, c.x, f"{c.name} params={params}")


@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_params_changed_in_length(label):
    c = called(label)
    both(c, lambda layers: layers[-1].params.append(1.0))
    assert isinstance(same_case(c), ValueError)
    both(c, lambda layers: layers[-1].params.pop())
    assert isinstance(same_case(c), np.ndarray)
    both(c, lambda layers: layers[-1].params.pop())
    assert isinstance(same_case(c), ValueError)


def test_params_deleted():
    c = called("Affine")
    del c.fast.params, c.ref.params
    assert isinstance(same_case(c), AttributeError)


# the same array object, described anew


def quietly(change):
    """NumPy deprecates these, and does them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        change()


def set_shape(W):
    W.shape = W.shape[::-1]


def set_dtype(W):
    W.dtype = "int32"


def set_strides(W):
    W.strides = (0, W.itemsize)


def grow(W):
    W.resize((W.shape[0] + 3, W.shape[1]), refcheck=False)


def shrink(W):
    W.resize((W.shape[0] - 2, W.shape[1]), refcheck=False)


def protect(W):
    W.flags.writeable = False


@pytest.mark.parametrize("change", [set_shape, set_dtype, set_strides, grow, shrink, protect])
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_redescribed_in_place(label, change):
    """A shape or dtype remembered from the first call would read beyond the array."""
    c = called(label, "float32", (6, 8, 3))
    W = c.weights[0][0]
    quietly(lambda: change(W))
    for width in {6, *W.shape}:
        x = np.linspace(-1, 1, 4 * width, dtype="float32").reshape(4, width)
        same(c.fast, c.ref, x, f"{c.name} {change.__name__} x={x.shape}")


@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_bias_resized_in_place(label):
    c = called(label, "float32", (6, 8, 3))
    c.weights[0][1].resize(2, refcheck=False)
    assert isinstance(same_case(c), ValueError)
    c.weights[0][1].resize(1, refcheck=False)
    assert isinstance(same_case(c), np.ndarray)


# layers


@pytest.mark.parametrize("label", NETS)
def test_layer_replaced(label):
    c = called(label)
    before = answer(c.fast)(c.x)
    for obj, lib in ((c.fast, FAST), (c.ref, REFERENCE)):
        W, b = obj.layers[0].params
        obj.layers[0] = type(obj.layers[0])(W + 1, b)
        obj.layers[-1] = lib.Sigmoid()
    assert_changed(c, before)


@pytest.mark.parametrize("label", NETS)
def test_layers_appended_inserted_and_deleted(label):
    c = called(label, sizes=(5, 5, 5))
    [(W, b)] = draw_weights(np.random.default_rng(3), (5, 5), "float64")
    steps = [
        ("sigmoid appended", lambda layers, lib: layers.append(lib.Sigmoid())),
        ("affine inserted", lambda layers, lib: layers.insert(0, lib.Affine(W, b))),
        ("fused appended", lambda layers, lib: layers.append(lib.AffineSigmoid(W, b))),
        ("second deleted", lambda layers, lib: layers.pop(1)),
        ("reversed", lambda layers, lib: layers.reverse()),
        ("cut to one", lambda layers, lib: layers.__delitem__(slice(1, None))),
    ]
    for name, step in steps:
        step(c.fast.layers, FAST)
        step(c.ref.layers, REFERENCE)
        same(c.fast, c.ref, c.x, f"{c.name} {name}")


@pytest.mark.parametrize("container", [list, tuple])
@pytest.mark.parametrize("label", NETS)
def test_layers_rebound(label, container):
    c = called(label)
    before = answer(c.fast)(c.x)
    for obj, lib in ((c.fast, FAST), (c.ref, REFERENCE)):
        obj.layers = container([*obj.layers, lib.Sigmoid()])
    assert_changed(c, before)


@pytest.mark.parametrize("label", NETS)
def test_layers_swapped_for_equally_long_ones(label):
    """The list object, its length and its types stay: only the layers are others."""
    c = called(label, sizes=(5, 5, 5))
    other = case(label, sizes=(5, 5, 5), seed=1)
    before = answer(c.fast)(c.x)
    c.fast.layers[:], c.ref.layers[:] = other.fast.layers, other.ref.layers
    assert_changed(c, before)


# sharing


def test_one_layer_twice_and_params_shared():
    """One edit reaches every layer that holds the array."""
    [(W, b)] = draw_weights(np.random.default_rng(4), (5, 5), "float64")
    x = np.linspace(-1, 1, 35).reshape(7, 5)
    nets = []
    for lib in (FAST, REFERENCE):
        layer = lib.Affine(W, b)
        nets.append(lib.Sequential([layer, lib.Sigmoid(), layer, lib.AffineSigmoid(W, b)]))
    first = same(*nets, x, "shared")
    W[0] += 1
    assert not np.array_equal(same(*nets, x, "shared and edited"), first)


def test_one_params_list_in_two_layers():
    c = called("Sequential2", sizes=(5, 5, 5))
    both(c, lambda layers: setattr(layers[1], "params", layers[0].params))
    same_case(c)
    both(c, lambda layers: layers[0].params.__setitem__(0, np.eye(5)))
    same_case(c)


def test_network_params_edited_in_place_take_effect():
    net = fastnet.TwoLayerNet(3, 4, 2)
    x = np.ones((2, 3))
    for i in range(4):
        before = net.predict(x)
        net.params[i][...] += 1
        assert not np.array_equal(net.predict(x), before), f"params[{i}]"


def test_entries_of_network_params_rebound_do_nothing():
    """As in the reference, whose layers hold lists of their own."""
    net = fastnet.TwoLayerNet(3, 4, 2)
    x = np.ones((2, 3))
    before = net.predict(x)
    net.params[0] = np.zeros((3, 4))
    np.testing.assert_array_equal(net.predict(x), before)


def test_alternating_dtypes_and_shapes_of_x():
    """One object, many kinds of call, in both orders."""
    c = called("TwoLayerNet")
    inputs = [
        np.ones((n, 5), dtype) for n in (1, 2, 70) for dtype in ("float32", "float64", "int64", "float16")
    ]
    for x in [*inputs, *reversed(inputs), np.ones(5), np.ones((2, 3, 5)), np.ones((3, 4)), np.ones((3, 5))]:
        same(c.fast, c.ref, x, f"{c.name} then {x.dtype}{x.shape}")
