"""The oracle itself, against values worked out by hand."""

import numpy as np
import pytest

from fastnet import reference


def test_affine_of_whole_numbers():
    layer = reference.Affine(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([10.0, 20.0, 30.0]))
    x = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    expected = [[11.0, 22.0, 33.0], [14.0, 25.0, 36.0], [8.0, 19.0, 30.0]]
    np.testing.assert_array_equal(layer.forward(x), expected)


@pytest.mark.parametrize(
    ("x", "y"), [(0.0, 0.5), (np.inf, 1.0), (-np.inf, 0.0), (np.log(3), 0.75), (-np.log(3), 0.25)]
)
def test_sigmoid_at_known_points(x, y):
    assert reference.Sigmoid().forward(np.array([x]))[0] == pytest.approx(y, rel=1e-15, abs=0)


def test_sigmoid_of_nan_is_nan():
    assert np.isnan(reference.Sigmoid().forward(np.array([np.nan]))[0])


def test_sigmoid_has_no_params():
    assert reference.Sigmoid().params == []


def test_tanh_at_known_points():
    x = np.array([0.0, np.log(2), -np.log(3), np.inf, -np.inf, np.nan])
    np.testing.assert_allclose(reference.Tanh().forward(x), [0, 0.6, -0.8, 1, -1, np.nan], rtol=1e-15, atol=0)


def test_relu_at_known_points():
    x = np.array([[2.5, -1.0, 0.0], [np.inf, -np.inf, np.nan]])
    np.testing.assert_array_equal(reference.ReLU().forward(x), [[2.5, 0, 0], [np.inf, 0, np.nan]])
    np.testing.assert_array_equal(reference.ReLU().forward([3, -4]), [3, 0])


def test_softmax_by_hand():
    x = np.log([[[1.0, 2.0, 5.0]], [[3.0, 3.0, 2.0]]])
    expected = [[[0.125, 0.25, 0.625]], [[0.375, 0.375, 0.25]]]
    np.testing.assert_allclose(reference.Softmax().forward(x), expected, rtol=1e-15)
    np.testing.assert_allclose(reference.Softmax().forward(x + 1000), expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0.0, -np.inf], [1.0, 0.0]),
        ([7.0], [1.0]),
        ([], []),
        ([1.0, np.nan], [np.nan, np.nan]),
        ([1.0, np.inf], [np.nan, np.nan]),
        ([-np.inf, -np.inf], [np.nan, np.nan]),
    ],
)
def test_softmax_at_the_edges(x, y):
    np.testing.assert_array_equal(reference.Softmax().forward(np.array(x)), y)


def test_softmax_of_unsigned_integers():
    y = reference.Softmax().forward(np.array([3, 5], np.uint8))
    np.testing.assert_allclose(y, [1 / (1 + np.e**2), 1 / (1 + np.e**-2)], rtol=1e-15)


def test_activations_have_no_params():
    for activation in (reference.Tanh, reference.ReLU, reference.Softmax):
        assert activation().params == []


def test_affine_reads_params_at_every_call():
    layer = reference.Affine(np.eye(2), np.zeros(2))
    x = np.array([[3.0, 4.0]])
    layer.params[0][0, 0] = 10
    np.testing.assert_array_equal(layer.forward(x), [[30.0, 4.0]])
    layer.params[1] = np.array([1.0, 2.0])
    np.testing.assert_array_equal(layer.forward(x), [[31.0, 6.0]])
    layer.params = [np.ones((2, 1)), 0.5]
    np.testing.assert_array_equal(layer.forward(x), [[7.5]])


def test_network_by_hand():
    """Weights 0 make every hidden unit sigmoid(ln 3) = 3/4."""
    net = reference.TwoLayerNet(2, 2, 1)
    W1, b1, W2, b2 = net.params
    W1[...], b1[...], W2[...], b2[...] = 0, np.log(3), [[4], [8]], -1
    scores = net.predict(np.array([[5.0, 6.0], [7.0, 8.0]]))
    np.testing.assert_allclose(scores, [[8.0], [8.0]], rtol=1e-15)


def test_network_layers_and_shapes():
    net = reference.TwoLayerNet(2, 4, 3)
    assert [type(layer).__name__ for layer in net.layers] == ["Affine", "Sigmoid", "Affine"]
    assert [p.shape for p in net.params] == [(2, 4), (4,), (4, 3), (3,)]
    assert {p.dtype for p in net.params} == {np.dtype("float64")}


def test_network_draws_in_order():
    np.random.seed(7)
    net = reference.TwoLayerNet(2, 4, 3)
    np.random.seed(7)
    for param, shape in zip(net.params, [(2, 4), (4,), (4, 3), (3,)], strict=True):
        np.testing.assert_array_equal(param, np.random.randn(*shape))


def test_network_params_are_those_of_its_layers():
    net = reference.TwoLayerNet(2, 4, 3)
    held = [p for layer in net.layers for p in layer.params]
    assert len(held) == 4
    assert all(a is b for a, b in zip(net.params, held, strict=True))
