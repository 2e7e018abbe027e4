"""What the kernels are compiled to: on other instruction sets and optimisation levels, and for AArch64."""

from __future__ import annotations

import json
import math
import platform
import re

import numba
import pytest

from fastnet.kernels import target
from tests import golden
from tests.machine_code import Code, compiled_anew
from tests.targets import HASWELL

#: settings of a process that compiles anew
TARGETS = {
    "host": {},
    "haswell": HASWELL,
    "no optimisation": {"NUMBA_OPT": "0"},
    "no vectorisers": {"NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0"},
    "vectorisers": {"NUMBA_OPT": "3", "NUMBA_LOOP_VECTORIZE": "1", "NUMBA_SLP_VECTORIZE": "1"},
}
ORDINARY = ("host", "haswell")
#: kernels that compute; the others read headers and choose
COMPUTE = {"sweep_tiles", "run_narrow", "run_streams", "step", "run_few", "alone"}
#: some of the others
CHOOSE = {"run_layer", "run_samples", "predict", "bind"}
#: what threads share work by, and what they run
SHARING = {"share", "serve", "run_range", "take_strips"}
REGISTERS = {64: "zmm", 32: "ymm", 16: "xmm"}
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads assembly of x86-64")

FAST_MATH = re.compile(r"^\s.*?\b(fast|reassoc|nnan|ninf|nsz|arcp|contract|afn)\b.*$", re.MULTILINE)
UNSAFE = re.compile(r'"(?:unsafe-fp-math|no-nans-fp-math|no-infs-fp-math|no-signed-zeros-fp-math)"="true"')
#: functions of the C library's mathematics and LLVM's of the same names; its fma is an instruction
LIBM = (
    r"(?:exp|exp2|exp10|expm1|log\w*|pow|tanh|sinh|cosh|sqrt|sin|cos|ldexp|frexp|rint|round|floor|ceil|trunc)"
)
CALLS_IN_IR = re.compile(rf"@(?:llvm\.)?{LIBM}(?:f|\.\w+)?\(|@fmaf?\(")
CALLS_IN_ASSEMBLY = re.compile(
    rf"(?:callq?|jmp|bl?|movabsq)\s+[$*]?(?:{LIBM}|fma)f?(?:@PLT)?\s*(?:$|,)", re.MULTILINE
)
#: of x86: packed or scalar arithmetic and conversions on float64; fused multiply-adds with their register
DOUBLE_X86 = re.compile(
    r"\bv?(?:add|sub|mul|div|fn?m(?:add|sub)\d*|max|min|sqrt|cvt\w*2|cvtt?)[ps]d\b|\bv?cvt[ps]d2"
)
FMA_X86 = re.compile(r"\bvfn?m(?:add|sub)\d+([ps])[sd]\b.*%([xyz]mm)\d+\s*$", re.MULTILINE)
#: of AArch64: vectors of four floats or two doubles; anything narrower
FMA_NEON = re.compile(r"\bfml[as]\s+v\d+\.(4s|2d)")
OTHER_FMA_NEON = re.compile(r"\bfn?m(?:add|sub)\s|\bfml[as]\s+v\d+\.2s")
DOUBLE_NEON = re.compile(r"\bf(?:add|sub|mul|div|madd|msub|cvt\w*)\s+d\d|\bf\w+\s+v\d+\.2d")


def defects(code: Code) -> set[str]:
    """What no kernel may have, in its IR or its assembly."""
    found = set()
    if FAST_MATH.search(code.ir) or UNSAFE.search(code.ir):
        found.add("fast-math flags")
    if CALLS_IN_IR.search(code.ir) or CALLS_IN_ASSEMBLY.search(code.assembly):
        found.add("calls of libm")
    if code.dtype == "float32" and (
        re.search(r"\bdouble\b", code.ir)
        or DOUBLE_X86.search(code.assembly)
        or DOUBLE_NEON.search(code.assembly)
    ):
        found.add("double operations")
    return found


def fused_on_x86(code: Code) -> set[tuple[str, str]]:
    """Of every fused multiply-add: packed (p) or scalar (s), and its register."""
    return set(FMA_X86.findall(code.assembly))


@pytest.fixture(
    scope="module",
    params=[*ORDINARY, *(pytest.param(t, marks=pytest.mark.long) for t in TARGETS if t not in ORDINARY)],
)
def compilation(request, tmp_path_factory):
    """(what it is for, the code, where it was written)"""
    if request.param == "haswell" and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("a CPU of x86-64")
    folder = tmp_path_factory.mktemp("code")
    return request.param, compiled_anew(folder, **TARGETS[request.param]), folder


def test_bits_of_every_target(compilation):
    _, _, folder = compilation
    assert json.loads((folder / "hashes.json").read_text()) == json.loads(golden.FILE.read_text())


def test_every_kernel_is_there(compilation):
    _, codes, _ = compilation
    assert {code.name for code in codes} >= COMPUTE | CHOOSE | SHARING
    assert [code.dtype for code in codes].count("float32") * 2 == len(codes) >= 12


def test_no_defects(compilation):
    _, codes, _ = compilation
    assert {(code.name, code.dtype): found for code in codes if (found := defects(code))} == {}


@on_x86
def test_fused_on_whole_vectors(compilation):
    """The target was in force: multiplications and additions are fused, in its widest registers alone."""
    label, codes, _ = compilation
    register = "ymm" if label == "haswell" else REGISTERS[target.VECTOR_BYTES]
    for code in codes:
        wanted = {("p", register)} if code.name in COMPUTE else set()
        if code.name == "sweep_tiles" and target.PART_BYTES and label != "haswell":
            wanted.add(("p", REGISTERS[target.PART_BYTES]))  # rows that end with half a vector
        assert fused_on_x86(code) == wanted, f"{code.name}, {code.dtype}"
        if label == "haswell":
            assert "%zmm" not in code.assembly, f"{code.name}, {code.dtype}"


@pytest.fixture(scope="module")
def neon(tmp_path_factory):
    return compiled_anew(tmp_path_factory.mktemp("neon"), "--neon", NUMBA_OPT="0")


def test_neon_has_no_defects(neon):
    assert {code.name for code in neon} >= COMPUTE | CHOOSE | SHARING
    assert {(code.name, code.dtype): found for code in neon if (found := defects(code))} == {}


def test_neon_is_fused_on_whole_vectors(neon):
    for code in neon:
        lanes = {"4s" if code.dtype == "float32" else "2d"} if code.name in COMPUTE else set()
        assert set(FMA_NEON.findall(code.assembly)) == lanes, f"{code.name}, {code.dtype}"
        assert not OTHER_FMA_NEON.search(code.assembly), f"{code.name}, {code.dtype}"
        assert 'target triple = "aarch64' in code.ir


# The audit itself: it has to find what it looks for


def _control(**options):
    """A float32 kernel with a double constant and the C library's exp."""

    @numba.njit(**options)
    def scaled(x):
        for i in range(x.size):
            x[i] = math.exp(x[i]) * 2.5 + x[i] * x[i] + x[i]

    signature = (numba.float32[::1],)
    scaled.compile(signature)
    return Code("sigmoid", "float32", scaled.inspect_llvm(signature), scaled.inspect_asm(signature))


def test_audit_finds_fast_math():
    assert "fast-math flags" in defects(_control(fastmath=True))
    assert "fast-math flags" in defects(_control(fastmath={"contract"}))
    assert "fast-math flags" not in defects(_control())


def test_audit_finds_libm_and_doubles_in_ir_and_in_assembly():
    code = _control()
    for part in (code, code._replace(ir=""), code._replace(assembly="")):
        assert defects(part) == {"calls of libm", "double operations"}


def test_audit_tells_narrow_and_scalar_from_whole_vectors():
    line = "\tvfmadd231ps\t%zmm1, %zmm2, %zmm3\n"
    assert fused_on_x86(Code("", "", "", line)) == {("p", "zmm")}
    assert fused_on_x86(Code("", "", "", line.replace("zmm", "xmm"))) == {("p", "xmm")}
    assert fused_on_x86(Code("", "", "", "\tvfnmadd213ss\t(%rax), %xmm2, %xmm3\n")) == {("s", "xmm")}
    assert fused_on_x86(Code("", "", "", "\tvmulps\t%zmm1, %zmm2, %zmm3\n")) == set()
