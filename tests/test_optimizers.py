"""The optimisers: the reference's bits, in place; and what they refuse, with nothing half-updated."""

import copy

import numpy as np
import pytest

import fastnet
from fastnet import reference
from tests.cases import KERNEL_DTYPES, LAYOUTS

OPTIMIZERS = {"SGD": {"lr": 0.1}, "Momentum": {"lr": 0.1, "momentum": 0.8}, "Adam": {"lr": 0.01}}
SHAPES = [
    (),
    (1,),
    (3,),
    (7,),
    (8,),
    (9,),
    (17,),
    (64,),
    (65,),
    (0,),
    (3, 5),
    (16, 33),
    (1, 1),
    (0, 4),
    (2, 3, 4),
]


def pair(name, **options):
    options = OPTIMIZERS[name] | options
    return getattr(fastnet, name)(**options), getattr(reference, name)(**options)


def draw(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def state(optimizer):
    return [a for name in ("m", "v") for a in getattr(optimizer, name, None) or []]


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_bits_of_the_reference(name, dtype):
    """In five steps, at a rate that changes; arrays, not their replacements, change."""
    fast, twin = pair(name)
    params, copies = draw(dtype), draw(dtype)
    held = list(params)
    for step in range(5):
        grads = draw(dtype, seed=step + 1)
        fast.lr = twin.lr = 0.1 / (step + 1)
        fast.update(params, grads)
        twin.update(copies, grads)
        for p, was, want in zip(params, held, copies, strict=True):
            assert p is was
            np.testing.assert_array_equal(p, want, strict=True)
        for got, want in zip(state(fast), state(twin), strict=True):
            np.testing.assert_array_equal(got, want, strict=True)
        for g, want in zip(grads, draw(dtype, seed=step + 1), strict=True):
            np.testing.assert_array_equal(g, want)
    assert getattr(fast, "iter", 5) == 5


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "read-only"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layouts(name, layout):
    fast, twin = pair(name)
    params, copies = [LAYOUTS[layout](np.ones((3, 4)))], [np.ones((3, 4))]
    for step in range(3):
        grad = np.arange(12.0).reshape(3, 4) + step
        fast.update(params, [LAYOUTS[layout](grad)])
        twin.update(copies, [grad])
    np.testing.assert_allclose(params[0], copies[0], rtol=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dtypes_side_by_side(name):
    kinds = ["float32", "float64", "float16", "longdouble", "complex128"]
    fast, twin = pair(name)
    params, copies = ([np.ones(3, kind) for kind in kinds] for _ in range(2))
    for _ in range(2):
        grads = [np.arange(3).astype(kind) for kind in kinds]
        fast.update(params, grads)
        twin.update(copies, grads)
    for got, want in zip(params, copies, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3 if got.dtype == np.float16 else 1e-6)
        assert got.dtype == want.dtype


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_to_do(name):
    fast, _ = pair(name)
    fast.update([], [])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_copies_keep_their_state(name):
    fast, _ = pair(name)
    params = [np.ones(3)]
    fast.update(params, [np.ones(3)])
    other, twin = copy.deepcopy(fast), [params[0].copy()]
    fast.update(params, [np.ones(3)])
    other.update(twin, [np.ones(3)])
    np.testing.assert_array_equal(params[0], twin[0])


def read_only():
    array = np.ones(2)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("params", "grads", "error", "words"),
    [
        ([np.ones(2)], [], ValueError, "1 params, but 0 grads"),
        ([np.ones(2)], [np.ones(2), np.ones(2)], ValueError, "1 params, but 2 grads"),
        ([np.ones(3), np.ones(2)], [np.ones(3), np.ones(3)], ValueError, r"grads\[1\] has shape"),
        ([np.ones(3), np.ones(2)], [np.ones(3), np.ones((2, 1))], ValueError, r"grads\[1\] has shape"),
        ([np.ones(3), read_only()], [np.ones(3), np.ones(2)], ValueError, r"params\[1\].*read-only"),
        ([np.ones(3), 1.0], [np.ones(3), 1.0], TypeError, r"params\[1\] must be an ndarray"),
        ([np.ones(3), [1.0]], [np.ones(3), [1.0]], TypeError, r"params\[1\] must be an ndarray"),
        ([np.ones(3), np.ones(2, int)], [np.ones(3), np.ones(2)], TypeError, r"params\[1\] has dtype"),
        ([np.ones(3), np.ones(2)], [np.ones(3), np.ones(2, complex)], TypeError, r"grads\[1\] has dtype"),
        ([np.ones(3), np.ones(2)], [np.ones(3), None], (TypeError, ValueError), r"grads\[1\] has"),
    ],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_refused(name, params, grads, error, words):
    fast, _ = pair(name)
    before = copy.deepcopy(params)
    with pytest.raises(error, match=words):
        fast.update(params, grads)
    for p, was in zip(params, before, strict=True):
        np.testing.assert_array_equal(p, was)
    assert getattr(fast, "iter", 0) == 0
    assert not any(a.any() for a in state(fast) if a.dtype != object)


@pytest.mark.parametrize("name", ["Momentum", "Adam"])
def test_other_parameters_than_before(name):
    fast, _ = pair(name)
    fast.update([np.ones(3)], [np.ones(3)])
    before = copy.deepcopy(state(fast))
    for params in ([np.ones(3), np.ones(2)], [np.ones(4)]):
        with pytest.raises(ValueError, match=r"shape|params, but"):
            fast.update(params, [np.ones_like(p) for p in params])
        assert all((p == 1).all() for p in params)
    for got, want in zip(state(fast), before, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("lr", ["fast", None, [0.1, 0.2]])
def test_a_rate_that_is_none(lr):
    p = np.ones(3)
    with pytest.raises((TypeError, ValueError)):
        fastnet.SGD(lr).update([p], [np.ones(3)])
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("name", ["Momentum", "Adam"])
def test_a_first_step_that_is_refused_leaves_no_state(name):
    """Zeros of whole numbers would cut off what later steps add to them."""
    fast, twin = pair(name)
    with pytest.raises(TypeError, match="dtype"):
        fast.update([np.ones(3, int)], [np.ones(3)])
    assert fast.v is None
    params, copies = [np.ones(3)], [np.ones(3)]
    for _ in range(3):
        fast.update(params, [np.ones(3)])
        twin.update(copies, [np.ones(3)])
    np.testing.assert_array_equal(params, copies)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_fails_on_its_way_is_taken_back(name):
    fast, _ = pair(name, lr=np.array([0.1, 0.2, 0.3]))
    params = [np.ones(3), np.ones(2)]
    with pytest.raises((TypeError, ValueError)):
        fast.update(params, [np.ones(3), np.ones(2)])
    assert all((p == 1).all() for p in params)
    assert getattr(fast, "iter", 0) == 0
    assert state(fast) == []


@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 3])
@pytest.mark.parametrize("which", ["grads", "v", "m"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arrays_that_overlap(name, which, shift):
    """Steps are those of the reference, which reads all of an array before it writes."""
    fast, twin = pair(name)
    found = []
    for optimizer in (fast, twin):
        if not hasattr(optimizer, which) and which != "grads":
            return
        memory, grads = np.arange(1.0, 41.0), [np.linspace(1, 2, 20)]
        params, over = [memory[5:25]], [memory[5 + shift : 25 + shift]]
        optimizer.update([np.ones(20)], grads)
        if which == "grads":
            grads = over
        else:
            setattr(optimizer, which, over)
        optimizer.update(params, grads)
        found.append(memory)
    np.testing.assert_allclose(*found, rtol=1e-14)
