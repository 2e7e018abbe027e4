"""`guarantees` is true here, and says why where it is not: modes of arithmetic are really set."""

import contextlib
import ctypes
import ctypes.util
import platform
import sys

import numpy as np
import pytest

import fastnet
from fastnet.kernels import target

#: fenv.h of glibc on x86-64: rounding modes, and where in fenv_t the control word of SSE lies
ROUNDING = {"downward": 0x400, "upward": 0x800, "toward zero": 0xC00}
ENVIRONMENT_BYTES, CONTROL_WORD = 32, 7
FLUSH = {"results": 0x8000, "operands": 0x40, "both": 0x8040}

glibc_on_x86 = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="sets modes through glibc on x86-64"
)


@contextlib.contextmanager
def arithmetic(change):
    """The thread's arithmetic as `change` leaves the control word, until the end of the block."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    before = (ctypes.c_uint32 * (ENVIRONMENT_BYTES // 4))()
    assert libm.fegetenv(before) == 0
    changed = type(before)(*before)
    changed[CONTROL_WORD] = change(before[CONTROL_WORD])
    libm.fesetenv(changed)
    try:
        yield
    finally:
        libm.fesetenv(before)


def test_here():
    found = fastnet.guarantees()
    assert found.same_bits
    assert found.shortfalls == ()
    assert platform.machine() in found.target
    assert f"{8 * target.VECTOR_BYTES} bits" in found.target


@glibc_on_x86
@pytest.mark.parametrize("mode", ROUNDING)
def test_rounding_mode_is_reported(mode):
    with arithmetic(lambda word: word | ROUNDING[mode] << 3):
        found = fastnet.guarantees()
    assert not found.same_bits
    assert len(found.shortfalls) == 1
    assert "round to nearest" in found.shortfalls[0]
    assert fastnet.guarantees().same_bits


@glibc_on_x86
@pytest.mark.parametrize("what", FLUSH)
def test_flushing_is_reported(what):
    with arithmetic(lambda word: word | FLUSH[what]):
        found = fastnet.guarantees()
    assert not found.same_bits
    assert len(found.shortfalls) == 1
    assert "subnormal" in found.shortfalls[0]


@glibc_on_x86
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flushing_does_what_is_reported(dtype):
    """The results that it says are lost are lost, and come back."""
    x, layer = np.full(5, -103 if dtype == "float32" else -744, dtype), fastnet.Sigmoid()
    there = layer.forward(x)
    with arithmetic(lambda word: word | FLUSH["both"]):
        flushed = layer.forward(x)
    assert (there > 0).all()
    assert (flushed == 0).all()
    assert (layer.forward(x) == there).all()


def test_missing_fma_is_reported(monkeypatch):
    monkeypatch.setattr(target, "features", lambda: frozenset({"sse4.2"}))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = fastnet.guarantees()
    assert not found.same_bits
    assert "fma" not in found.target
    assert "fused multiply-add" in found.shortfalls[0]
