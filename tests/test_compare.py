"""What the comparison of two answers lets pass, and what it does not."""

import numpy as np
import pytest

from tests.compare import assert_within

WANT = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
NAN, INF = float("nan"), float("inf")


def changed(array, **places):
    array = array.copy()
    for place, value in places.items():
        array[int(place[1]), int(place[2])] = value
    return array


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("special", [{}, {"_01": NAN}, {"_10": INF}, {"_12": -INF}, {"_00": NAN, "_02": INF}])
def test_equal_and_near(dtype, special):
    want = changed(WANT, **special).astype(dtype)
    assert_within(want, want, 0.0, "equal")
    assert_within(want + want.dtype.type(1e-6), want, 1e-5, "near")
    assert_within(want[:0], want[:0], 0.0, "empty")
    assert_within(want[0, 0], want[0, 0], 0.0, "a scalar")


@pytest.mark.parametrize(
    ("got", "want", "bound", "message"),
    [
        (changed(WANT, _12=6.1), WANT, 0.01, r"1 of 6 values beyond the bound, the worst at \[1, 2\].*6.1"),
        (changed(WANT, _12=6.1, _00=1.5), WANT, 0.01, r"2 of 6 values .* \[0, 0\]"),
        (changed(WANT, _12=6.1, _00=INF), changed(WANT, _00=INF), 0.01, r"1 of 6 values .* \[1, 2\]"),
        (WANT, WANT, changed(0 * WANT, _01=NAN), r"\[0, 1\].*within nan"),
        (changed(WANT, _01=NAN), WANT, 9.0, "NaN in other places"),
        (WANT, changed(WANT, _01=NAN), 9.0, "NaN in other places"),
        (changed(WANT, _01=INF), WANT, INF, "infinities in other places"),
        (WANT, changed(WANT, _01=-INF), INF, "infinities in other places"),
        (changed(WANT, _01=INF), changed(WANT, _01=-INF), INF, "other infinities"),
        (WANT[:1], WANT, 9.0, "NaN in other places"),
    ],
)
def test_differences_are_seen(got, want, bound, message):
    with pytest.raises(AssertionError, match="(?s)" + message):
        assert_within(got, want, bound, "an answer")
