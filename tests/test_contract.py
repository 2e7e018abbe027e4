"""Drop-in: what the reference accepts or refuses, in type, dtype, shape and value."""

import warnings

import numpy as np
import pytest

from tests.cases import DTYPES, KERNEL_DTYPES, LABELS, NETS, WITH_WEIGHTS, case, draw
from tests.compare import answer, outcome, same, same_case


def first_layer(obj):
    """The first layer that has weights."""
    return next(layer for layer in getattr(obj, "layers", [obj]) if layer.params)


def compact(error):
    """A message without blanks: shapes are written (2, 3) or (2,3)."""
    return str(error).replace(" ", "")


# dtypes


@pytest.mark.parametrize("w_dtype", DTYPES)
@pytest.mark.parametrize("x_dtype", DTYPES)
@pytest.mark.parametrize("label", LABELS)
def test_dtypes(label, x_dtype, w_dtype):
    for lead in [(7,), (), (2, 3), (0,)]:
        same_case(case(label, x_dtype, (5, 9, 3), lead, w_dtype=w_dtype))


@pytest.mark.parametrize("b_dtype", DTYPES)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_bias_of_another_dtype(label, b_dtype):
    rng = np.random.default_rng(1)
    for dtype in [*KERNEL_DTYPES, "int64"]:
        c = case(label, dtype, (5, 9, 3))
        for obj in (c.fast, c.ref):
            layer = first_layer(obj)
            layer.params[1] = draw(np.random.default_rng(1), layer.params[1].shape, b_dtype)
        same(c.fast, c.ref, c.x, f"{c.name} b={b_dtype}")
        same(c.fast, c.ref, draw(rng, (4, 5), "float32"), f"{c.name} b={b_dtype} x=float32")


BIASES = {
    "row": np.linspace(-1, 1, 4)[None],
    "rows": np.linspace(-1, 1, 24).reshape(6, 4),
    "column": np.linspace(-1, 1, 6)[:, None],
    "more dims": np.linspace(-1, 1, 8).reshape(2, 1, 4),
    "one": np.array([0.3]),
    "0-d": np.array(0.3),
    "0-d float32": np.array(0.3, "float32"),
    "Python float": 0.3,
    "Python int": 2,
    "Python bool": True,
    "Python complex": 0.5j,
    "float64 scalar": np.float64(0.3),
    "float32 scalar": np.float32(0.3),
    "list": [0.1, 0.2, 0.3, 0.4],
    "tuple": (1, 2, 3, 4),
    "wrong": np.zeros(3),
    "empty": np.zeros(0),
    "too many rows": np.zeros((5, 4)),
    "None": None,
    "text": "b",
}


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "int64", "float16"])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("label", ["Affine", "AffineSigmoid", "Sequential1"])
def test_bias(label, bias, dtype):
    for lead in [(6,), (1,), (), (2, 6), (0,)]:
        c = case(label, dtype, (3, 4), lead)
        for obj in (c.fast, c.ref):
            first_layer(obj).params[1] = BIASES[bias]
        same(c.fast, c.ref, c.x, f"{c.name} b={bias}")


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_bias_of_a_hidden_layer(dtype, bias):
    c = case("TwoLayerNet", dtype, (3, 4, 2), (6,))
    for obj in (c.fast, c.ref):
        obj.layers[0].params[1] = BIASES[bias]
    same(c.fast, c.ref, c.x, f"{c.name} b1={bias}")


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "complex128"])
@pytest.mark.parametrize(
    "w_shape", [(), (3,), (1, 3), (3, 1), (5, 3, 4), (2, 3, 4), (1, 3, 4), (2, 5, 3, 4)], ids=str
)
@pytest.mark.parametrize("label", ["Affine", "AffineSigmoid", "Sequential1"])
def test_weights_of_other_dimensions(label, w_shape, dtype):
    rng = np.random.default_rng(2)
    W = draw(rng, w_shape, dtype)
    for b in [0.5, draw(rng, w_shape[-1:], dtype), draw(rng, (4,), dtype)]:
        for lead in [(), (6,), (2, 6), (5, 2, 6)]:
            c = case(label, dtype, (3, 4), lead)
            for obj in (c.fast, c.ref):
                first_layer(obj).params[:] = [W, b]
            same(c.fast, c.ref, c.x, f"{c.name} W={w_shape} b={np.shape(b)}")


# x that is no array, or none that can be multiplied


class ArrayLike:
    """Anything with ``__array__``."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0, 2.0, 3.0]])


class NoUfuncs:
    __array_ufunc__ = None


INPUTS = {
    "list": [1.0, 2.0, 3.0],
    "nested list": [[1, 2, 3], [4, 5, 6]],
    "deep list": [[[0.5, 0.25, -1.0]]],
    "tuple": (1, 2.5, 3),
    "range": range(3),
    "array-like": ArrayLike(),
    "Python float": 0.5,
    "Python int": 3,
    "Python bool": True,
    "Python complex": 0.5j,
    "float32 scalar": np.float32(0.5),
    "0-d": np.array(0.5),
    "0-d int": np.array(3),
    "None": None,
    "text": "abc",
    "list of text": ["a", "b", "c"],
    "array of text": np.array([["a", "b", "c"]]),
    "bytes": b"abc",
    "dict": {},
    "set": {1, 2, 3},
    "empty list": [],
    "ragged": [[1.0, 2.0, 3.0], [4.0]],
    "dates": np.zeros((2, 3), "M8[s]"),
    "time spans": np.ones((2, 3), "m8[s]"),
    "records": np.zeros(3, [("a", float)]),
    "objects": np.array([[1, "a", None]], dtype=object),
    "no ufuncs": NoUfuncs(),
    "type": float,
    "too wide": np.ones((2, 5)),
    "too narrow": np.ones((2, 2), "float32"),
    "wrong 1-d": np.ones(4),
    "wrong 3-d": np.ones((2, 3, 4)),
    "transposed": np.ones((3, 2)),
    "no columns": np.ones((3, 0)),
    "wrong and empty": np.ones((0, 5)),
}


@pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy timedelta:DeprecationWarning")
@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "int64"])
@pytest.mark.parametrize("x", INPUTS)
@pytest.mark.parametrize("label", LABELS)
def test_inputs(label, x, dtype):
    """Accepted with the same answer, or refused with the very same exception type."""
    c = case(label, dtype, (3, 4, 2))
    same(c.fast, c.ref, INPUTS[x], f"{c.name} x={x}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 5), (5,), (4, 2, 5), (0, 5), (2, 0)], ids=str)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_wrong_width_names_both_shapes(label, shape, dtype):
    c = case(label, "float64", (3, 4, 2))
    error = same(c.fast, c.ref, np.ones(shape, dtype), f"{c.name} x={dtype}{shape}")
    assert isinstance(error, ValueError), c.name
    for named in (shape, first_layer(c.ref).params[0].shape):
        assert compact(named) in compact(error), f"{c.name}: {named} is not in {error}"


@pytest.mark.parametrize("label", NETS)
def test_wrong_hidden_width_names_the_shape(label):
    c = case(label, "float64", (3, 4, 2))
    for obj in (c.fast, c.ref):
        [layer for layer in obj.layers if layer.params][1].params[0] = np.ones((6, 2))
    error = same(c.fast, c.ref, c.x, c.name)
    assert isinstance(error, ValueError), c.name
    assert "(6,2)" in compact(error), f"{c.name}: (6, 2) is not in {error}"


@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_wrong_bias_names_the_shape(label):
    c = case(label, "float32", (3, 4, 2))
    for obj in (c.fast, c.ref):
        first_layer(obj).params[1] = np.ones(13, "float32")
    error = same(c.fast, c.ref, c.x, c.name)
    assert isinstance(error, ValueError), c.name
    assert "(13,)" in compact(error), f"{c.name}: (13,) is not in {error}"


# ndarray subclasses


class Tagged(np.ndarray):
    def __array_finalize__(self, obj):
        self.tag = getattr(obj, "tag", "fresh")


def as_matrix(a):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(a)


SUBCLASSES = {
    "matrix": as_matrix,
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) % 4 == 1),
    "unmasked": np.ma.masked_array,
    "tagged": lambda a: a.view(Tagged),
    "recarray": lambda a: a.view(np.recarray),
}


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("subclass", SUBCLASSES)
@pytest.mark.parametrize("label", LABELS)
def test_subclass_of_x(label, subclass, dtype):
    for sizes, rows in [((3, 4, 2), 5), ((3, 3, 3), 3)]:
        c = case(label, dtype, sizes, (rows,))
        same(c.fast, c.ref, SUBCLASSES[subclass](c.x), f"{c.name} {subclass}")


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("subclass", SUBCLASSES)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_subclass_of_weights(label, subclass, position):
    for sizes, rows in [((3, 4, 2), 5), ((3, 3, 3), 3)]:
        c = case(label, "float64", sizes, (rows,))
        for obj in (c.fast, c.ref):
            params = first_layer(obj).params
            params[position] = SUBCLASSES[subclass](params[position])
        same(c.fast, c.ref, c.x, f"{c.name} params[{position}]={subclass}")


# values


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("label", LABELS)
def test_special_values(label, value, dtype):
    """One special value anywhere: in the body of a vector, in its tail, in a row, a weight or a bias."""
    for sizes, rows in [((5, 9, 3), 7), ((33, 70, 17), 67)]:
        for which in range(4 if label in WITH_WEIGHTS else 1):
            c = case(label, dtype, sizes, (rows,))
            a = dict(enumerate(array for _, array in c.arrays())).get(which, c.x)
            for at in {0, a.size // 2, a.size - 1}:
                kept, a.flat[at] = a.flat[at], value
                same(c.fast, c.ref, c.x, f"{c.name} array {which}[{at}]={value}")
                a.flat[at] = kept


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16", "longdouble"])
@pytest.mark.parametrize("label", LABELS)
def test_large_values_are_silent(label, dtype):
    """Arguments far beyond the range of exp, of one sign: the answers are beyond doubt."""
    limit = min(float(np.finfo(dtype).max), 1e300) / 64
    for large in [*(v for v in (100, 800, 12_000) if v < limit), limit]:
        for sign in (1, -1):
            c = case(label, dtype, (5, 9, 3))
            for _, a in c.arrays():
                a[...] = np.abs(a)
            c.x[...] = sign * large
            same_case(c)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", LABELS)
def test_silent_where_numpy_is_told_to_raise(label, dtype):
    c = case(label, dtype, (5, 9, 3))
    c.x[...] = -np.finfo(dtype).max / 1e6
    c.x[0] = np.finfo(dtype).tiny
    with np.errstate(over="raise", under="raise"):
        _, error = outcome(answer(c.fast), c.x)
    assert error is None, f"{c.name}: {error!r}"
