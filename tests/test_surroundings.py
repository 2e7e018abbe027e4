"""The same bits, or a clear word, under settings of Python, NumPy, Numba and the CPU that others made."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys

import pytest

from benchmarks.processes import environment
from tests.targets import ANOTHER_MAKE
from tests.test_guarantees import FLUSH, ROUNDING, glibc_on_x86

pytest.importorskip("safetensors")
pytest.importorskip("onnx")


#: what Numba says of any function with an exception if it is not to optimise
CANNOT_CACHE = "NumbaWarning: Cannot cache compiled function"


def usually(names, *usual):
    """All of the names as parameters; those that are not usual only in the long run."""
    return [name if name in usual else pytest.param(name, marks=pytest.mark.long) for name in names]


def outcome(*arguments, options=(), **settings):
    """What ``tests.surroundings`` finds in a process of its own; it fails at any other answer."""
    command = [sys.executable, "-P", *options, "-m", "tests.surroundings", *arguments]
    done = subprocess.run(command, env=environment(**settings), capture_output=True, text=True, timeout=600)
    assert done.returncode >= 0, f"{signal.Signals(-done.returncode).name}\n{done.stderr}"
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert all(CANNOT_CACHE in line for line in said), done.stderr
    return json.loads(done.stdout)


@functools.cache
def usual():
    return outcome("--formats")


INTERPRETERS = {
    "-O": (["-O"], {}),
    "-OO": (["-OO"], {}),
    "-W error": (["-W", "error"], {}),
    "-b -b": (["-bb", "-W", "error"], {"PYTHONHASHSEED": "7"}),
    "C locale": ([], {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "0"}),
    "no JIT": ([], {"NUMBA_DISABLE_JIT": "1"}),
    "errors of the old style": ([], {"NUMBA_CAPTURED_ERRORS": "old_style", "NUMBA_DEVELOPER_MODE": "1"}),
}


@pytest.mark.parametrize("kind", usually(INTERPRETERS, "-O", "-OO", "-W error", "no JIT"))
def test_interpreters(kind, record_property):
    """The sample of the table of cases, known bits, and every format."""
    options, settings = INTERPRETERS[kind]
    found = outcome("--formats", options=options, **settings)
    assert found["tried"] == usual()["tried"] > 400
    assert found["digest"] == usual()["digest"]
    assert found["debug"] == (not kind.startswith("-O"))
    assert found["documented"] == (kind != "-OO")
    record_property("tried", found["tried"])


@pytest.mark.skipif(not shutil.which("localedef"), reason="makes a locale with glibc's localedef")
def test_a_locale_with_decimal_commas(tmp_path, record_property):
    made = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")]
    subprocess.run(made, check=True, capture_output=True)
    found = outcome("--formats", "--locale", LOCPATH=str(tmp_path), LC_ALL="de_DE.UTF-8")
    assert found["decimal_point"] == ","
    assert found["digest"] == usual()["digest"]
    record_property("tried", found["tried"])


@pytest.mark.parametrize(
    "settings",
    [
        {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"},
        pytest.param({"OPENBLAS_CORETYPE": "Haswell"}, marks=pytest.mark.long),
        pytest.param({"OPENBLAS_CORETYPE": "Zen", "OPENBLAS_NUM_THREADS": "3"}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_another_blas(settings, record_property):
    """What the reference computes may have other bits then, what the kernels compute has the same."""
    found = outcome(**settings)
    assert found["digest"] == usual()["digest"]
    record_property("tried", found["tried"])


def printed(code, *options, **settings):
    command = [sys.executable, "-P", *options, "-c", code]
    return subprocess.run(command, env=environment(**settings), capture_output=True, text=True, timeout=600)


WITHOUT_BLAS = """
import ctypes, os, re
import numpy as np
import fastnet
from fastnet import threads

threads.set_num_threads(2)
cases = [(fastnet.TwoLayerNet(*sizes), np.random.randn(rows, sizes[0]))
         for sizes in [(2, 10, 3), (64, 128, 10), (784, 300, 10)] for rows in (1, 7, 3000)]
want = [net.predict(x).tobytes() for net, x in cases]
blas = 0
for line in open("/proc/self/maps"):
    place, mode, *_, path = line.split(maxsplit=5) if len(line.split()) > 5 else (line, "", "")
    if "blas" in path and "x" in mode:
        start, stop = (int(n, 16) for n in place.split("-"))
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), 0) == 0
        blas += 1
assert [net.predict(x).tobytes() for net, x in cases] == want
print(blas, len(cases), flush=True)
{then}
os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes the code of BLAS away in Linux's way")
def test_no_blas_at_run_time(record_property):
    """Its code may not be entered any more: no kernel does, while NumPy's product ends the process."""
    done = printed(WITHOUT_BLAS.format(then=""))
    assert done.returncode == 0, done.stderr
    blas, calls = map(int, done.stdout.split())
    assert calls == 9
    if blas == 0:
        pytest.skip("this NumPy has no BLAS in a library of its own")
    assert printed(WITHOUT_BLAS.format(then="np.ones((50, 50)) @ np.ones((50, 50))")).returncode < 0
    record_property("tried", calls)


NUMBA = {
    "for debugging": {"NUMBA_OPT": "0", "NUMBA_BOUNDSCHECK": "1"},
    "OPT=1": {"NUMBA_OPT": "1"},
    "BOUNDSCHECK=1": {"NUMBA_BOUNDSCHECK": "1"},
    "DEBUGINFO": {"NUMBA_DEBUGINFO": "1", "NUMBA_FULL_TRACEBACKS": "1"},
    "no vectorisers": {"NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0"},
    "one thread": {"NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"},
    "variables live on": {"NUMBA_EXTEND_VARIABLE_LIFETIMES": "1", "NUMBA_DISABLE_INTEL_SVML": "1"},
    "generic CPU": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2,+avx2,+fma"},
    "another make of CPU": ANOTHER_MAKE,
}


@pytest.mark.parametrize("kind", usually(NUMBA, "for debugging", "another make of CPU"))
def test_settings_of_numba(kind, tmp_path, record_property):
    """Compiled anew under these, into a cache of their own."""
    found = outcome(NUMBA_CACHE_DIR=str(tmp_path), **NUMBA[kind])
    assert found["digest"] == usual()["digest"]
    record_property("tried", found["tried"])


# the CPU's modes

MODES = """
import json, sys
import numpy as np
from tests.test_guarantees import FLUSH, ROUNDING, arithmetic
import fastnet
from tests import golden

how, known = {how!r}, json.loads(golden.FILE.read_text())
change = (lambda word: word | FLUSH[how]) if how in FLUSH else (lambda word: word | ROUNDING[how] << 3)
exact, inside = 0, 0
with arithmetic(change):
    first = golden.hashes()
    said = fastnet.guarantees()
    x = np.linspace(-800, 800, 100_001)
    values = [(l().forward(x), l) for l in (fastnet.Sigmoid, fastnet.Tanh, fastnet.ReLU)]
    rows = fastnet.Softmax().forward(x[:-1].reshape(-1, 100))
    many = fastnet.TwoLayerNet(64, 100, 10).predict(np.ones((20_000, 64)))
for y, layer in values:
    reference = getattr(fastnet.reference, layer.__name__)()
    with np.errstate(all="ignore"):
        error = np.abs(y - reference.forward(x))
    assert error.max() <= 1e-11, layer
assert (values[0][0] >= 0).all() and (values[0][0] <= 1).all()
assert np.isfinite(rows).all() and np.abs(rows.sum(axis=1) - 1).max() < 1e-12
assert np.isfinite(many).all() and not said.same_bits and len(said.shortfalls) == 1
again = golden.hashes()
assert again == known
same = sum(first[name] == known[name] for name in known)
print(json.dumps({{"tried": 2 * len(known) + 5, "same": same, "of": len(known)}}))
"""


@glibc_on_x86
@pytest.mark.parametrize("how", usually((*FLUSH, *ROUNDING), "both", "upward"))
def test_modes_of_the_cpu(how, record_property):
    """Set before the first call: it says so, is right within rounding, and has its bits back afterwards."""
    done = printed(MODES.format(how=how))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    few = found["of"] // 4  # networks in which subnormal numbers occur
    assert (found["same"] >= found["of"] - few) if how in FLUSH else (found["same"] <= few)
    record_property("tried", found["tried"])


@glibc_on_x86
@pytest.mark.long
@pytest.mark.parametrize("how", ["both", "upward"])
def test_compiled_under_another_mode(how, tmp_path, record_property):
    """Machine code compiled, and kept in the cache, under a changed mode is that of any other time."""
    done = printed(MODES.format(how=how), NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = outcome(NUMBA_CACHE_DIR=str(tmp_path))
    assert found["digest"] == usual()["digest"]
    record_property("tried", found["tried"])


def test_flushing_by_pytorch(record_property):
    """Its switch, in the calling thread: reported while it is on, and gone when it is off again."""
    pytest.importorskip("torch")
    code = """
import torch
import numpy as np
import fastnet
x, layer = np.full(5, -744.0), fastnet.Sigmoid()
there = layer.forward(x)
assert torch.set_flush_denormal(True)
said, flushed = fastnet.guarantees(), layer.forward(x)
torch.set_flush_denormal(False)
assert not said.same_bits and "subnormal" in said.shortfalls[0]
assert (there > 0).all() and (flushed == 0).all() and (layer.forward(x) == there).all()
assert fastnet.guarantees().same_bits
"""
    done = printed(code)
    assert done.returncode == 0, done.stderr
    record_property("tried", 3)


def test_another_answer_is_seen():
    """The program itself: a result that is wrong, and one that is right but of other bits."""
    wrong = "import sys; from tests import surroundings; import fastnet, numpy as np\n{}\nsurroundings.main()"
    done = printed(wrong.format("fastnet.Tanh.forward = lambda self, x, out=None: np.tanh(x) + 0.1"), "-O")
    assert done.returncode == 1
    assert "Tanh" in done.stderr
    done = printed(wrong.format("fastnet.Tanh.forward = lambda self, x, out=None: np.tanh(x)"), "-O")
    assert done.returncode == 1
    assert "other bits" in done.stderr
