"""Comparing fastnet with the reference: same kind of answer, values within a derived bound."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet import reference
from tests.cases import AffineSigmoid, Case, Loop


def numbers(a: Any) -> np.ndarray:
    """An array of numbers NumPy can measure: Python's own, in an object array, are float64 or complex128."""
    a = np.asarray(a)
    if a.dtype != object:
        return a
    return a.astype(np.complex128 if any(isinstance(v, complex) for v in a.flat) else np.float64)


def _eps(*dtypes: np.dtype) -> float:
    """The coarsest rounding among them; whole numbers round nothing."""
    return max((float(np.finfo(d).eps) for d in dtypes if d.kind in "fc"), default=0.0)


def _tiny(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).tiny) if dtype.kind in "fc" else 0.0


def _size(a: Any) -> np.ndarray:
    """Absolute values in float64, of arrays and whatever NumPy makes one of."""
    return np.abs(numbers(a)).astype(np.float64)


def affine_bound(x: Any, W: Any, b: Any, err: Any = 0.0) -> np.ndarray:
    """The error of ``x @ W + b`` where x is known to ``err``: gamma_n * (|x| @ |W| + |b|), n = fan_in + 2.

    The classical bound, for any order of the sum, with or without fused multiply-adds.
    """
    product = np.matmul(x, W)
    inner, dtype = numbers(product).dtype, numbers(product + b).dtype
    u = _eps(inner, dtype) / 2
    n = np.shape(x)[-1] + 2
    assert n * u < 0.5, "the bound says nothing at this fan-in"
    gamma = n * u / (1 - n * u)
    spread = np.matmul(np.broadcast_to(err, np.shape(x)), _size(W))
    # Either side's x is the exact one within err, so at most |x| + 2 err; products may underflow.
    reach = np.matmul(_size(x), _size(W)) + 2 * spread + _size(b)
    return spread + gamma * reach + n * (_tiny(inner) + _tiny(dtype)) * u


def _function_bound(y: Any, err: Any, slope: Any, most: float) -> np.ndarray:
    """The error of a function's values y whose argument is known to ``err``: its slope, and 4 ulp of its own.

    Two values are at most ``most`` apart. NumPy flushes subnormal results, hence the smallest normal number.
    """
    dtype = np.asarray(y).dtype
    rounding = (8 if dtype.kind == "c" else 4) * _eps(dtype) * _size(y)
    return np.minimum(slope * err, most) + rounding + _tiny(dtype)


def sigmoid_bound(y: Any, err: Any = 0.0) -> np.ndarray:
    """The slope is at most 1/4 on the real line; a complex argument has the slope of its place."""
    slope = 2 * _size(y * (1 - np.asarray(y))) if np.iscomplexobj(y) else 0.25
    return _function_bound(y, err, slope, 1.0)


def tanh_bound(y: Any, err: Any = 0.0) -> np.ndarray:
    """The slope is at most 1 on the real line; a complex argument has the slope of its place."""
    slope = 2 * _size(1 - np.asarray(y) ** 2) if np.iscomplexobj(y) else 1.0
    return _function_bound(y, err, slope, 2.0)


def softmax_bound(y: Any, x: Any, err: Any = 0.0) -> np.ndarray:
    """The error of a softmax y of x, which is known to ``err``.

    Every share changes by a factor of exp(2 max(err)) at most, and no share is beyond 1. A rounded
    x - max(x) costs a share half as many ulp as it is large, and the sum the mean of that, log n at most;
    adding up takes n roundings, exp and the division 8.
    """
    y, dtype = np.asarray(y), np.asarray(y).dtype
    n = max(np.shape(y)[-1], 1) if np.ndim(y) else 1
    with np.errstate(all="ignore"):
        below = np.real(numbers(x)).astype(np.float64)
        below = np.max(below, axis=-1, keepdims=True, initial=-np.inf) - below if np.ndim(y) else below * 0
        below = np.where(np.isfinite(below), below, 0.0)
        worst = (
            np.max(np.broadcast_to(err, y.shape), axis=-1, keepdims=True, initial=0.0) if np.ndim(y) else err
        )
        spread = np.where(worst < 20, (_size(y) + _tiny(dtype)) * np.expm1(2 * np.minimum(worst, 20)), 1.0)
        return np.minimum(spread, 1.0) + (below + np.log(n) + n + 8) * _eps(dtype) * _size(y) + _tiny(dtype)


def error_bound(ref: Any, x: Any) -> np.ndarray:
    """How far either side may be from the exact answer, element by element, layer by layer.

    A layer of the user's own says how it stretches errors by an attribute ``lipschitz``.
    """

    def through(layer: Any, x: Any, err: Any) -> tuple[Any, Any]:
        if isinstance(layer, Loop | reference.TwoLayerNet):
            for inner in layer.layers:
                x, err = through(inner, x, err)
            return x, err
        if isinstance(layer, AffineSigmoid):
            x, err = through(reference.Affine(*layer.params), x, err)
            return through(reference.Sigmoid(), x, err)
        y = layer.forward(x)
        if type(layer) is reference.Affine:
            err = affine_bound(x, *layer.params, err)
        elif type(layer) is reference.Sigmoid:
            err = sigmoid_bound(y, err)
        elif type(layer) is reference.Tanh:
            err = tanh_bound(y, err)
        elif type(layer) is reference.ReLU:
            pass  # no two results are farther apart than their arguments, and nothing is rounded
        elif type(layer) is reference.Softmax:
            err = softmax_bound(y, x, err)
        else:
            err = layer.lipschitz * err + _eps(numbers(y).dtype) * _size(y)
        # Infinities and NaN are compared by position: no error comes from them.
        return y, np.where(np.isfinite(numbers(y)), err, 0.0)

    return np.asarray(through(ref, x, np.zeros(np.shape(x)))[1])


def assert_within(got: Any, want: Any, bound: Any, name: str) -> None:
    """NaN and infinities in the same places, everything else within ``bound`` of ``want``."""
    got, want = np.asarray(got), np.asarray(want)
    finite = np.isfinite(want)
    if got.shape != want.shape or not (finite.all() and np.isfinite(got).all()):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want), f"{name}: NaN in other places")
        infinite = np.isinf(want)
        np.testing.assert_array_equal(np.isinf(got), infinite, f"{name}: infinities in other places")
        np.testing.assert_array_equal(got[infinite], want[infinite], f"{name}: other infinities")
    wide = np.clongdouble if want.dtype.kind == "c" else np.longdouble
    with np.errstate(invalid="ignore"):  # infinities less themselves
        off = np.abs(got.astype(wide) - want)
    allowed = np.broadcast_to(bound, want.shape)
    bad = finite & ~(off <= allowed)  # a NaN in the bound is a failure, not a pass
    if bad.any():
        worst = np.unravel_index(np.argmax(np.where(bad, off, -1)), want.shape)
        raise AssertionError(
            f"{name}: {bad.sum()} of {want.size} values beyond the bound, the worst at "
            f"{[int(i) for i in worst]}: {got[worst]!r} is not {want[worst]!r} "
            f"within {float(allowed[worst]):.3g}"
        )


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    """What a call returns and what it raises, one of them None."""
    try:
        return call(*args, **kwargs), None
    except Exception as error:
        return None, error


def answer(obj: Any) -> Callable[..., Any]:
    """``predict`` of a network, ``forward`` of a layer."""
    return obj.predict if hasattr(obj, "predict") else obj.forward


def expected(ref: Any, x: Any) -> tuple[Any, Exception | None]:
    """The reference's outcome, its own overflow warnings aside."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outcome(answer(ref), x)


def same_kind(got: Any, want: Any, name: str) -> None:
    """Equal type, dtype and shape."""
    assert type(got) is type(want), f"{name}: {type(got)}, the reference returns {type(want)}"
    assert got.dtype == want.dtype, f"{name}: {got.dtype}, the reference returns {want.dtype}"
    assert got.shape == want.shape, f"{name}: {got.shape}, the reference returns {want.shape}"


def same(fast: Any, ref: Any, x: Any, name: str) -> Any:
    """Run both on x and compare type, dtype, shape and values, or the type of what they raise.

    fastnet runs with every warning an error, as the whole suite does. Returns its result or its error.
    """
    want, refusal = expected(ref, x)
    got, error = outcome(answer(fast), x)
    if refusal is not None:
        assert error is not None, f"{name}: accepted, the reference raises {refusal!r}"
        assert type(error) is type(refusal), f"{name}: raises {error!r}, the reference {refusal!r}"
        return error
    if error is not None:
        raise AssertionError(f"{name}: raises {error!r}, the reference returns {want!r}") from error
    same_kind(got, want, name)
    if want.dtype.kind not in "fcO":
        np.testing.assert_array_equal(got, want, name)
        return got
    if isinstance(want, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(want)
        np.testing.assert_array_equal(np.ma.getmaskarray(got), mask, f"{name}: another mask")
        got_values, want_values = got.filled(0), want.filled(0)
    else:
        got_values, want_values = numbers(got), numbers(want)
    with np.errstate(all="ignore"):
        assert_within(got_values, want_values, 2 * error_bound(ref, x), name)
    return got


def same_case(case: Case) -> Any:
    return same(case.fast, case.ref, case.x, case.name)
