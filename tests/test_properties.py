"""Whatever hypothesis draws of shapes, dtypes, layouts and values, the answer is the reference's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import DTYPES, KERNEL_DTYPES, LABELS, LAYOUTS, case
from tests.compare import answer, expected, same

NUMERIC = [dtype for dtype in DTYPES if dtype != "object"]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0]

labels = st.sampled_from(LABELS)
layouts = st.sampled_from(list(LAYOUTS))
sizes = st.lists(st.integers(0, 40), min_size=3, max_size=5).map(tuple)
leads = st.one_of(
    st.integers(0, 150).map(lambda rows: (rows,)),
    st.lists(st.integers(0, 6), max_size=3).map(tuple),
)
seeds = st.integers(0, 2**32 - 1)


@given(labels, st.sampled_from(NUMERIC), st.sampled_from(NUMERIC), sizes, leads, layouts, layouts, seeds)
def test_any_numbers(label, x_dtype, w_dtype, sizes, lead, x_layout, w_layout, seed):
    c = case(label, x_dtype, sizes, lead, x_layout, w_layout, w_dtype, seed)
    before = [a.tobytes() for _, a in c.arrays()]
    y = same(c.fast, c.ref, c.x, f"{c.name} seed={seed}")
    assert [a.tobytes() for _, a in c.arrays()] == before, f"{c.name}: inputs were modified"
    assert not any(np.shares_memory(y, a) for _, a in c.arrays()), f"{c.name}: the result aliases an input"


@given(labels, st.sampled_from(KERNEL_DTYPES), sizes, leads, st.data())
def test_special_values_anywhere(label, dtype, sizes, lead, data):
    """NaN, infinities and signed zeros among moderate numbers, in x and in the weights."""
    c = case(label, dtype, sizes, lead)
    marks = st.tuples(st.integers(0, 2**16), st.sampled_from(SPECIAL))
    for name, a in c.arrays():
        for at, value in data.draw(st.lists(marks, max_size=3), label=name) if a.size else []:
            a.flat[at % a.size] = value
    same(c.fast, c.ref, c.x, c.name)


@given(labels, st.sampled_from(KERNEL_DTYPES), sizes, leads, st.integers(-30, 30))
def test_any_magnitude(label, dtype, sizes, lead, exponent):
    """x scaled by a power of two, from values lost beside the bias to saturated sigmoids."""
    c = case(label, dtype, sizes, lead)
    c.x *= 2.0**exponent
    same(c.fast, c.ref, c.x, f"{c.name} x * 2**{exponent}")


@given(labels, st.sampled_from(NUMERIC), sizes, leads, sizes)
def test_any_width_is_taken_or_refused_alike(label, dtype, sizes, lead, other):
    """Weights of one network, x of another."""
    c, stranger = case(label, "float64", sizes, lead), case(label, dtype, other, lead)
    same(c.fast, c.ref, stranger.x, f"{c.name} x={stranger.x.shape}")


@given(
    labels,
    st.sampled_from(KERNEL_DTYPES),
    sizes,
    leads,
    layouts,
    st.sampled_from(["C", "F", "strided", "reversed"]),
)
def test_out_is_the_same_answer(label, dtype, sizes, lead, x_layout, out_layout):
    """To the bit: where the result is stored is no part of the arithmetic."""
    c = case(label, dtype, sizes, lead, x_layout)
    want, _ = expected(c.ref, c.x)
    out = LAYOUTS[out_layout](np.full(want.shape, 7, dtype))
    assert answer(c.fast)(c.x, out=out) is out, c.name
    np.testing.assert_array_equal(out, answer(c.fast)(c.x), c.name)
