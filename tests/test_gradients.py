"""``backward`` of layers and networks: against differences, PyTorch, the reference; and what it refuses."""

import copy
import gc
import inspect
import pickle
import weakref

import numpy as np
import pytest

import fastnet
from fastnet import reference
from tests.cases import (
    BATCHES,
    FAN_INS,
    FAN_OUTS,
    IMPLEMENTATIONS,
    KERNEL_DTYPES,
    LABELS,
    LAYERS,
    LAYOUTS,
    NET_SIZES,
    NETS,
    OTHER_DTYPES,
    REFERENCE,
    WITH_WEIGHTS,
    case,
    draw,
)

#: relative to the largest of an array's gradients: a sum of some hundred terms, and few ulp of the functions
ROUNDING = {"float32": 2e-5, "float64": 1e-13}


def forward(obj, x):
    """Scores, remembered; the reference's TwoLayerNet has them as `predict`."""
    return obj.predict(x) if isinstance(obj, reference.TwoLayerNet) else obj.forward(x)


def backward(obj, dout):
    """From the scores, past the loss layer."""
    if isinstance(obj, reference.TwoLayerNet):
        for layer in reversed(obj.layers):
            dout = layer.backward(dout)
        return dout
    return obj.backward(dout)


def gradients(obj, x, dout):
    """[dx, then those of the parameters]."""
    forward(obj, x)
    return [backward(obj, dout), *obj.grads]


def wide(label, weights):
    """The reference's twin in extended precision."""
    pairs = [tuple(np.asarray(a).astype(np.longdouble) for a in pair) for pair in weights]
    return IMPLEMENTATIONS[label].build(REFERENCE, pairs)


def agree(got, want, dtype, name):
    assert len(got) == len(want), name
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        assert g.shape == w.shape, f"{name}: gradient {i}: {g.shape}, not {w.shape}"
        assert g.dtype == dtype, f"{name}: gradient {i} is {g.dtype}"
        size = np.abs(w).max(initial=0.0)
        assert np.isfinite(size), name
        off = np.abs(g - w).max(initial=0.0)
        assert off <= ROUNDING[dtype] * size, f"{name}: gradient {i} is off by {off / size:.3g} of {size:.3g}"


def dout_for(c, dtype, seed=1):
    return draw(np.random.default_rng(seed), np.shape(forward(c.ref, c.x)), dtype)


def check(label, dtype, **options):
    c = case(label, dtype, **options)
    dout = dout_for(c, dtype)
    want = gradients(wide(label, c.weights), c.x.astype(np.longdouble), dout.astype(np.longdouble))
    agree(gradients(c.fast, c.x, dout), want, dtype, c.name)
    return c


@pytest.mark.parametrize("label", LABELS)
def test_central_differences(label):
    """Of sum(dout * y) in extended precision, for every parameter and every x."""
    c = case(label, "float64", (4, 5, 3), (6,))
    dout = dout_for(c, "float64").astype(np.longdouble)
    x = c.x.astype(np.longdouble)
    pairs = [[a.astype(np.longdouble) for a in pair] for pair in c.weights]
    arrays = [x, *(a for pair in pairs for a in pair)]
    twin = IMPLEMENTATIONS[label].build(REFERENCE, [tuple(pair) for pair in pairs])
    h = np.longdouble(2) ** -18
    for array, got in zip(arrays, gradients(c.fast, c.x, dout.astype(float)), strict=True):
        want = np.empty(array.shape, np.longdouble)
        for i in np.ndindex(array.shape):
            here, sums = array[i], []
            for step in (2, 1, -1, -2):  # of fourth order
                array[i] = here + step * h
                sums.append((dout * forward(twin, x)).sum())
            array[i] = here
            want[i] = (8 * (sums[1] - sums[2]) - (sums[0] - sums[3])) / (12 * h)
        np.testing.assert_allclose(got, want.astype(float), rtol=1e-10, atol=1e-11, err_msg=c.name)


@pytest.mark.parametrize("label", LABELS)
def test_pytorch(label):
    """Autograd in float64, to 1e-10."""
    torch = pytest.importorskip("torch")
    for seed, batch in enumerate((1, 7, 33)):
        c = case(label, "float64", (17, 33, 9), (batch,), seed=seed)
        dout = dout_for(c, "float64")
        x = torch.tensor(c.x, requires_grad=True)
        weights = [torch.tensor(a, requires_grad=True) for pair in c.weights for a in pair]
        function = {"Sigmoid": "sigmoid", "Tanh": "tanh", "ReLU": "relu"}
        layers = c.ref.layers if hasattr(c.ref, "layers") else [c.ref]
        y, left = x, iter(weights)
        for layer in layers:
            kind = type(layer).__name__
            if kind.startswith("Affine"):
                y = y @ next(left) + next(left)
            if kind == "Softmax":
                y = torch.softmax(y, -1)
            elif kind != "Affine":
                y = getattr(torch, function[kind.removeprefix("Affine")])(y)
        y.backward(torch.tensor(dout))
        for got, want in zip(gradients(c.fast, c.x, dout), [x, *weights], strict=True):
            want = want.grad.numpy()
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10 * np.abs(want).max(), err_msg=c.name)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", LAYERS)
def test_shapes_of_layers(label, dtype):
    for i, fan_in in enumerate(FAN_INS):
        check(label, dtype, sizes=(fan_in, FAN_OUTS[i]), lead=(BATCHES[i],), seed=i)
    for i, batch in enumerate(BATCHES):
        check(label, dtype, sizes=(FAN_INS[i % 12], FAN_OUTS[i % len(FAN_OUTS)]), lead=(batch,), seed=i)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", NETS)
def test_shapes_of_networks(label, dtype):
    for i, sizes in enumerate(NET_SIZES):
        check(label, dtype, sizes=sizes, lead=(BATCHES[i * 3 % len(BATCHES)],), seed=i)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", LABELS)
def test_leading_axes(label, dtype):
    for lead in ((), (2, 3), (1, 0, 2), (2, 2, 2)):
        check(label, dtype, lead=lead)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("label", LABELS)
def test_layouts(label, layout, dtype):
    """Of x, of the weights, and of dout; nothing that was passed in changes."""
    c = case(label, dtype, x_layout=layout, w_layout=layout)
    dout = dout_for(c, dtype)
    moved = LAYOUTS[layout](dout)
    before = [(name, array.copy()) for name, array in c.arrays()]
    want = gradients(wide(label, c.weights), c.x.astype(np.longdouble), dout.astype(np.longdouble))
    got = gradients(c.fast, c.x, moved)
    agree([np.asarray(g, dtype) for g in got], want, dtype, c.name)
    np.testing.assert_array_equal(moved, dout)
    for (name, array), (_, was) in zip(c.arrays(), before, strict=True):
        np.testing.assert_array_equal(array, was, name)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", NETS)
def test_bits_do_not_depend_on_the_way(label, dtype):
    """The network's backward, layer by layer, with any layout, on any number of threads: the same bits."""
    c = case(label, dtype, (64, 100, 10), (257,))
    dout = dout_for(c, dtype)
    want = [g.copy() for g in gradients(c.fast, c.x, dout)]
    was = fastnet.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastnet.set_num_threads(threads)
            for got, expected in zip(gradients(c.fast, c.x, dout), want, strict=True):
                np.testing.assert_array_equal(got, expected)
    finally:
        fastnet.set_num_threads(was)
    y = c.x
    for layer in c.fast.layers:
        y = layer.forward(y)
    step = np.asfortranarray(dout)
    for layer in reversed(c.fast.layers):
        step = np.asfortranarray(layer.backward(step))
    for got, expected in zip([step, *c.fast.grads], want, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [d for d in OTHER_DTYPES if d not in ("object", "bool", "uint8")])
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_other_dtypes_as_the_reference_has_them(label, dtype):
    c = case(label, dtype)
    dout = draw(np.random.default_rng(1), np.shape(forward(c.ref, c.x)), dtype)
    for got, want in zip(gradients(c.fast, c.x, dout), gradients(c.ref, c.x, dout), strict=True):
        assert got.dtype == want.dtype
        tolerance = 1e-2 if got.dtype == np.float16 else 1e-4 if got.dtype == np.complex64 else 1e-12
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * float(np.abs(want).max()))


def test_mixed_dtypes():
    """float64 where NumPy promotes to it; the gradients keep the dtype of their parameters."""
    rng = np.random.default_rng(0)
    W, b, x = draw(rng, (3, 2), "float32"), draw(rng, (2,), "float64"), rng.standard_normal((4, 3))
    fast, ref = fastnet.Affine(W, b), reference.Affine(W, b)
    for got, want in zip(
        gradients(fast, x, np.ones((4, 2), int)), gradients(ref, x, np.ones((4, 2))), strict=True
    ):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert [g.dtype.name for g in fast.grads] == ["float32", "float64"]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 1), (1, 3)])
def test_biases_of_any_shape(shape):
    x, dout = np.arange(8.0).reshape(4, 2), np.arange(12.0).reshape(4, 3)
    layer = fastnet.Affine(np.ones((2, 3)), np.zeros(shape))
    layer.forward(x)
    layer.backward(dout)
    want = dout.sum(0).reshape(shape) if np.size(layer.grads[1]) == 3 else np.full(shape, dout.sum())
    np.testing.assert_array_equal(layer.grads[1], want)


def test_lists_and_numbers():
    layer, twin = (lib.Affine([[1, 2], [3, 4]], [0, 1]) for lib in (fastnet, reference))
    for got, want in zip(
        gradients(layer, [[1.0, 2.0]], [[1, -1]]), gradients(twin, [[1.0, 2.0]], [[1, -1]]), strict=True
    ):
        np.testing.assert_array_equal(got, want)


# -- in place, and what is remembered ------------------------------------------------------------------------


@pytest.mark.parametrize("label", NETS)
def test_flat_lists_stay_valid(label):
    c = case(label)
    c.fast.forward(c.x)
    flat, dout = list(c.fast.grads), dout_for(c, "float64")
    c.fast.backward(dout)
    before = [g.copy() for g in flat]
    assert any(g.any() for g in before)
    for layer in c.fast.layers:
        if layer.params:
            layer.params[0][...] *= 0.5
    c.fast.forward(c.x)
    c.fast.backward(dout)
    held = [g for layer in c.fast.layers for g in layer.grads]
    for i, (now, was) in enumerate(zip(flat, before, strict=True)):
        assert now is held[i] is c.fast.grads[i]
        assert i == len(flat) - 1 or not np.array_equal(now, was), "gathered once, and seen to change"


def test_gradients_start_as_zeros_and_cost_nothing_until_then():
    layer = fastnet.Affine(np.ones((3, 2), np.float32), np.ones(2, np.float32))
    assert "grads" not in vars(layer)
    assert [(g.shape, g.dtype.name, g.any()) for g in layer.grads] == [
        ((3, 2), "float32", False),
        ((2,), "float32", False),
    ]
    assert layer.grads is layer.grads
    for activation in (fastnet.Sigmoid, fastnet.Tanh, fastnet.ReLU, fastnet.Softmax):
        assert activation().grads == []


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", LABELS)
def test_predict_remembers_nothing(label, dtype):
    """Neither x nor anything made of it lives on; `forward` keeps x or y themselves, no copies."""
    c = case(label, dtype)
    net = c.fast if hasattr(c.fast, "predict") else fastnet.Sequential([c.fast])
    for call in (net.predict, net.predict):
        x = c.x.copy()
        gone = weakref.ref(x)
        call(x)
        del x
        gc.collect()
        assert gone() is None
    with pytest.raises(RuntimeError, match="before forward"):
        net.backward(np.ones(1))
    for layer in net.layers:
        with pytest.raises(RuntimeError, match="before forward"):
            layer.backward(np.ones(1))


def test_predict_in_between_disturbs_nothing():
    c = case("TwoLayerNet")
    t = np.arange(7) % 3
    c.fast.forward(c.x, t)
    c.fast.backward()
    want = [g.copy() for g in c.fast.grads]
    c.fast.forward(c.x, t)
    c.fast.predict(c.x[:3] * 2)
    c.fast.backward()
    for got, expected in zip(c.fast.grads, want, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_backward_twice_gives_the_same():
    c = case("SequentialReLUSoftmax")
    dout = dout_for(c, "float64")
    c.fast.forward(c.x)
    first = [g.copy() for g in [c.fast.backward(dout), *c.fast.grads]]
    for got, want in zip([c.fast.backward(dout), *c.fast.grads], first, strict=True):
        np.testing.assert_array_equal(got, want)
    net, twin = case("TwoLayerNet").fast, case("TwoLayerNet").ref
    t = np.arange(7) % 3
    for model in (net, twin):
        model.forward(c.x, t)
    for _ in range(2):
        got = net.backward()
        got += 1  # it is the caller's own
    np.testing.assert_allclose(net.backward(2), 2 * twin.backward(), rtol=1e-12)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_the_weights_and_nothing_remembered(way):
    c = case("TwoLayerNet")
    t = np.arange(7) % 3
    c.fast.forward(c.x, t)
    c.fast.backward()
    want = [g.copy() for g in c.fast.grads]
    other = way(c.fast)
    assert len(pickle.dumps(c.fast)) < 2000 + sum(p.nbytes for p in c.fast.params)
    for broken in (other, *other.layers, other.loss_layer):
        with pytest.raises(RuntimeError):
            broken.backward(np.ones((7, 3)))
    assert not any(g.any() for g in other.grads)
    assert other.grads[0] is other.layers[0].grads[0]
    assert other.forward(c.x, t) == c.fast.forward(c.x, t)
    other.backward()
    for got, expected, own in zip(other.grads, want, c.fast.grads, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert not np.shares_memory(got, own)


class Doubled:
    """A layer of a user's own."""

    def __init__(self):
        self.params, self.grads, self.calls = [np.array([2.0])], [np.zeros(1)], []

    def forward(self, x):
        self.calls.append("forward")
        self.x = x
        return x * self.params[0]

    def backward(self, dout):
        self.calls.append("backward")
        self.grads[0][...] = (self.x * dout).sum()
        return dout * self.params[0]


def test_layers_of_a_users_own_and_networks_in_networks():
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal((3, 3)), rng.standard_normal(3)) for _ in range(3)]
    x, dout = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))

    def build(lib, nested):
        inner = [lib.Affine(*weights[1]), lib.Sigmoid()]
        inner = [fastnet.Sequential(inner)] if nested else inner
        return [lib.Affine(*weights[0]), Doubled(), *inner, lib.Affine(*weights[2])]

    net, twin = fastnet.Sequential(build(fastnet, True)), build(reference, False)
    net.forward(x)
    got = net.backward(dout)
    y = x
    for layer in twin:
        y = layer.forward(y)
    step = dout
    for layer in reversed(twin):
        step = layer.backward(step)
    np.testing.assert_allclose(got, step, rtol=1e-12)
    for mine, theirs in zip(net.grads, [g for layer in twin for g in layer.grads], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)
    assert net.layers[1].calls == ["forward", "backward"]


def test_methods_replaced_later():
    """On an instance: the network calls what is there now."""
    c = case("TwoLayerNet")
    t = np.arange(7) % 3
    c.fast.forward(c.x, t)
    c.fast.backward()
    before = [g.copy() for g in c.fast.grads]
    sigmoid = c.fast.layers[1]
    sigmoid.backward = lambda dout: 0 * dout
    c.fast.forward(c.x, t)
    c.fast.backward()
    assert not c.fast.grads[0].any()
    del sigmoid.backward
    sigmoid.forward = lambda x: 0 * x
    want = -np.log(reference.softmax(c.weights[1][1])[t]).mean()
    assert c.fast.forward(c.x, t) == pytest.approx(want)
    del sigmoid.forward
    c.fast.forward(c.x, t)
    c.fast.backward()
    for got, expected in zip(c.fast.grads, before, strict=True):
        np.testing.assert_array_equal(got, expected)


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.fixture
def trained():
    """A layer with gradients that are known, which no failure may touch."""
    layer = fastnet.Affine(np.arange(6.0).reshape(3, 2), np.zeros(2))
    layer.forward(np.ones((4, 3)))
    layer.backward(np.ones((4, 2)))
    yield layer
    np.testing.assert_array_equal(layer.grads[0], np.full((3, 2), 4.0))
    np.testing.assert_array_equal(layer.grads[1], np.full(2, 4.0))


@pytest.mark.parametrize("shape", [(4,), (2,), (3, 2), (5, 2), (4, 1), (4, 3), (4, 2, 1), (1, 4, 2), ()])
def test_dout_of_a_wrong_shape(trained, shape):
    with pytest.raises(ValueError, match=r"dout has shape .*, but forward .* shape \(4, 2\)"):
        trained.backward(np.ones(shape))
    for activation in (fastnet.Sigmoid(), fastnet.Softmax()):
        activation.forward(np.ones((4, 2)))
        with pytest.raises(ValueError, match="dout has shape"):
            activation.backward(np.ones(shape))


@pytest.mark.parametrize("which", [0, 1])
def test_read_only_gradients(trained, which):
    trained.grads[which].flags.writeable = False
    with pytest.raises(ValueError, match=rf"grads\[{which}\] .*read-only"):
        trained.backward(2 * np.ones((4, 2)))


@pytest.mark.parametrize(
    ("grad", "error", "words"),
    [
        (np.zeros((2, 3)), ValueError, "shape"),
        (np.zeros((3, 2, 1)), ValueError, "shape"),
        (None, TypeError, "ndarray"),
        ([[0.0, 0.0]] * 3, TypeError, "ndarray"),
        (np.zeros((3, 2), int), TypeError, "dtype"),
    ],
)
def test_gradients_replaced_by_what_does_not_fit(trained, grad, error, words):
    was = trained.grads[0]
    trained.grads[0] = grad
    with pytest.raises(error, match=words):
        trained.backward(2 * np.ones((4, 2)))
    trained.grads[0] = was


def test_lists_of_gradients_of_another_length(trained):
    trained.grads.append(np.zeros(3))
    with pytest.raises(ValueError, match="2 params, but 3 grads"):
        trained.backward(2 * np.ones((4, 2)))


@pytest.mark.parametrize("W", [np.ones((3, 4)), np.ones((5, 2)), np.ones(3), np.ones((2, 3, 2))])
def test_weights_replaced_by_some_of_another_shape(trained, W):
    trained.params[0] = W
    with pytest.raises(ValueError, match="shape"):
        trained.backward(2 * np.ones((4, 2)))


def test_weights_replaced_between_forward_and_backward():
    """W is read when it is used: dx comes from the new one, as in the reference."""
    layer, twin = (lib.Affine(np.ones((3, 2)), np.zeros(2)) for lib in (fastnet, reference))
    for one in (layer, twin):
        one.forward(np.ones((4, 3)))
        one.params[0] = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(layer.backward(np.ones((4, 2))), twin.backward(np.ones((4, 2))))
    for got, want in zip(layer.grads, twin.grads, strict=True):
        np.testing.assert_array_equal(got, want)


def test_gradients_that_overlap_the_weights():
    """However foolish, the result is that of arrays which do not."""
    x, dout, W = np.arange(8.0).reshape(4, 2), np.arange(8.0).reshape(4, 2), np.arange(4.0).reshape(2, 2)
    whole = fastnet.Affine(W.copy(), np.zeros(2))
    want = [g.copy() for g in gradients(whole, x, dout)]
    for view in (lambda a: a, lambda a: a[:], lambda a: a.T):
        layer = fastnet.Affine(W.copy(), np.zeros(2))
        layer.grads[0] = view(layer.params[0])
        for got, expected in zip(gradients(layer, x, dout), want, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("into", [0, 1], ids=["dW", "db"])
@pytest.mark.parametrize("which", ["x", "W", "transposed W", "dout"])
def test_what_lies_in_an_array_of_gradients(which, into):
    """The result is that of arrays which do not overlap, though they are views of the gradients."""
    rng = np.random.default_rng(0)
    x, dout, W = (rng.standard_normal((3, 3)) for _ in range(3))
    grads = [np.zeros((3, 3)), np.zeros(3)]
    view = grads[into] if into == 0 else np.broadcast_to(grads[1], (3, 3))
    given = {"x": x, "W": W, "dout": dout}
    grads[into][...] = given[which[-1] if "W" in which else which][0] if into else rng.standard_normal((3, 3))
    given[which[-1] if "W" in which else which] = view.T if which == "transposed W" else view
    want = [given["dout"] @ given["W"].T, given["x"].T @ given["dout"], given["dout"].sum(axis=0)]
    layer = fastnet.Affine(given["W"], np.zeros(3))
    fastnet.Affine(np.ones((3, 3)), np.zeros(3)).forward(x)
    layer.grads[:] = grads
    layer.forward(given["x"])
    got = [layer.backward(given["dout"]), *grads]
    for one, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-12, atol=1e-14)


def test_a_failed_forward_leaves_nothing_to_go_back_on():
    net = fastnet.TwoLayerNet(3, 4, 2)
    x, t = np.ones((5, 3)), np.zeros(5, int)
    net.forward(x, t)
    net.backward()
    before = [g.copy() for g in net.grads]
    for bad in (lambda: net.forward(np.ones((5, 4)), t), lambda: net.forward(x, t + 2)):
        with pytest.raises(ValueError, match="shape"):
            bad()
        with pytest.raises(RuntimeError, match="before forward"):
            net.backward()
    for got, want in zip(net.grads, before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_networks_that_cannot_go_back():
    class Forward:
        def forward(self, x):
            return x

    affine, sigmoid = fastnet.Affine(np.ones((2, 2)), np.zeros(2)), fastnet.Sigmoid()
    net = fastnet.Sequential([affine, Forward()])
    net.forward(np.ones((3, 2)), np.zeros(3, int))
    with pytest.raises(TypeError, match="Forward has no method backward"):
        net.backward()
    assert not any(g.any() for g in net.grads)
    with pytest.raises(ValueError, match="the same Sigmoid is in layers twice"):
        fastnet.Sequential([affine, sigmoid, sigmoid]).forward(np.ones((3, 2)), np.zeros(3, int))
    net = fastnet.Sequential([affine])
    with pytest.raises(TypeError, match="out"):
        net.forward(np.ones((3, 2)), np.zeros(3, int), out=np.empty((3, 2)))
    net.loss_layer = None
    with pytest.raises(TypeError, match="loss_layer"):
        net.forward(np.ones((3, 2)), np.zeros(3, int))
    net.forward(np.ones((3, 2)))
    with pytest.raises(ValueError, match="dout has shape"):
        net.backward()


def test_nan_goes_through():
    """Where dout is NaN, the gradients are; nothing is invented, nothing is refused."""
    c = case("AffineSigmoid", sizes=(5, 4), lead=(6,))
    dout = np.ones((6, 4))
    dout[2, 1] = np.nan
    for got, want in zip(gradients(c.fast, c.x, dout), gradients(c.ref, c.x, dout), strict=True):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


@pytest.mark.parametrize("kind", [fastnet.Affine, fastnet.Sigmoid, fastnet.Sequential, fastnet.TwoLayerNet])
def test_classes_have_grads_to_look_at(kind):
    """As `inspect` and mocks do."""
    assert "grads" in dict(inspect.getmembers(kind))
    assert kind.grads.__doc__
