"""The same bits on every Python, NumPy, instruction set and optimisation level: those in golden.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnet import fused, threads
from fastnet.kernels import target
from tests import golden

KNOWN = json.loads(golden.FILE.read_text())
#: AVX2 and FMA, no AVX-512; the name of the CPU alone would keep the features of the one at hand
HASWELL = "+64bit,+cx16,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2"
#: settings of a process that compiles anew -> the registers that its machine code uses
TARGETS = {
    "haswell": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}, ["xmm", "ymm"]),
    "no optimisation": ({"NUMBA_OPT": "0"}, None),
    "no vectorisers": ({"NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0"}, None),
    "vectorisers": ({"NUMBA_OPT": "3", "NUMBA_LOOP_VECTORIZE": "1", "NUMBA_SLP_VECTORIZE": "1"}, None),
}
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names CPUs of x86-64")


@pytest.fixture(scope="module")
def found():
    return golden.hashes()


@pytest.mark.parametrize("name", KNOWN)
def test_known_bits(name, found):
    assert found[name] == KNOWN[name]


def test_all_are_known(found):
    assert list(found) == list(KNOWN)


@pytest.mark.parametrize("dtype", golden.DTYPES)
def test_hash_sees_one_bit(dtype):
    """The negative control: one bit of one result is another hash."""
    net, x = golden.network((16, 32, 8), 67, dtype)
    y = net.predict(x)
    assert golden.digest(y) == KNOWN[f"16-32-8 x 67 {dtype}"]
    y[41, 3] = np.nextafter(y[41, 3], np.inf)
    assert golden.digest(y) != KNOWN[f"16-32-8 x 67 {dtype}"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_known_bits_on_threads(count, monkeypatch):
    """Every call on so many threads, however small, in pieces of few rows."""
    pieces = []
    run_in_pieces = threads.in_pieces

    def counted(run, rows, work):
        pieces.append(rows // threads.piece_rows(rows, work, count))
        run_in_pieces(run, rows, work)

    monkeypatch.setattr(threads, "_PAYS", 1)
    monkeypatch.setattr(threads, "_ROWS", 1)
    monkeypatch.setattr(threads, "_wanted", count)
    monkeypatch.setattr(fused, "in_pieces", counted)
    monkeypatch.setattr(fused, "_run", fused.run_large)
    assert golden.hashes() == KNOWN
    networks = len(golden.DTYPES) * (len(golden.NETWORKS) + len(golden.ACTIVATED))
    assert len(pieces) == networks, "some call took another way"
    assert (max(pieces) > 1) == (count > 1)


def compiled_with(settings: dict[str, str], cache: Path) -> dict[str, object]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {**settings, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "tests.golden"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=golden.FILE.parents[1]
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@on_x86
@pytest.mark.parametrize(
    "label",
    [label if label == "haswell" else pytest.param(label, marks=pytest.mark.long) for label in TARGETS],
)
def test_other_machine_code(label, tmp_path):
    settings, registers = TARGETS[label]
    result = compiled_with(settings, tmp_path)
    assert result["hashes"] == KNOWN
    assert result["fused"] > 100, "the code has few fused multiply-adds: not what was asked for"
    if registers is None:
        assert result["vector bytes"] == target.VECTOR_BYTES
    else:
        assert result["registers"] == registers
