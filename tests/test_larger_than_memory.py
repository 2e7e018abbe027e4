"""Arrays larger than the memory that a process allows itself, and memory that does not grow with a file.

Two limits can stand for a machine's memory. RLIMIT_DATA counts what a process allocates for itself, but not
shared maps of files, whose pages the system drops and reads again as it likes: that is the limit for
``predict(x, out=out)`` on memory maps. RLIMIT_AS counts every address, those of a mapped file too, so that no
map of the whole file fits below it: the command line maps a block at a time, and is held to that one.
"""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastnet
from tests.test_bits import bits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits, and /proc, as Linux has them")
MEGABYTE = 1 << 20

LIMITED = """
import resource, sys
import numpy as np
import fastnet
from fastnet import cli

def used(name):
    [line] = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1]) << 10

def limit(which, name, more):
    "So much more than is in use now; nothing is computed by NumPy's BLAS or compiled afterwards."
    value = used(name) + more
    resource.setrlimit(which, (value, value))
    return value

def refused(call):
    try:
        call()
    except (MemoryError, OSError, ValueError) as error:
        return "allocate" in str(error) or "Unable" in str(error)
    return False
"""


def run(code, *arguments):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "FASTNET_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return list(map(int, done.stdout.split()))


def sparse(path, rows, width):
    """A .npy of float32 zeros, some rows of which are numbers: large to read, but not on the disk."""
    x = np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))
    some = np.array([0, rows // 3, rows // 2, rows - 1])
    x[some] = np.random.default_rng(0).standard_normal((len(some), width))
    return some


def check(net, x, y, some):
    np.testing.assert_array_equal(bits(y[some]), bits(net.predict(np.array(x[some]))))
    of_zeros = net.predict(np.zeros((1, x.shape[1]), np.float32))
    others = np.setdiff1d(np.linspace(0, len(y) - 1, 1000, dtype=int), some)
    np.testing.assert_array_equal(bits(y[others]), bits(np.broadcast_to(of_zeros, y[others].shape)))


def network(*sizes):
    rng = np.random.default_rng(0)
    (W1, b1), (W2, b2) = [
        (rng.standard_normal(s).astype(np.float32), rng.standard_normal(s[1]).astype(np.float32))
        for s in itertools.pairwise(sizes)
    ]
    return fastnet.Sequential([fastnet.Affine(W1, b1), fastnet.Sigmoid(), fastnet.Affine(W2, b2)])


PREDICT = """
import pickle
folder, rows = sys.argv[1], int(sys.argv[2])
net = pickle.load(open(f"{folder}/net.pickle", "rb"))
x = np.load(f"{folder}/x.npy", mmap_mode="r")
width = net.layers[-1].params[0].shape[1]
out = np.lib.format.open_memmap(f"{folder}/y.npy", "w+", np.float32, (rows, width))
net.predict(x[:100_000], out=out[:100_000])  # the threads and their memory are there
value = limit(resource.RLIMIT_DATA, "VmData", 16 << 20)
assert refused(lambda: np.load(f"{folder}/x.npy")), "the limit is none"
assert net.predict(x, out=out) is out
out.flush()
print(value, x.nbytes, out.nbytes)
"""


def test_memory_maps_larger_than_the_limit(tmp_path):
    net, rows = network(16, 8, 16), 16_000_000
    (tmp_path / "net.pickle").write_bytes(pickle.dumps(net))
    try:
        some = sparse(tmp_path / "x.npy", rows, 16)
        limit, *sizes = run(PREDICT, tmp_path, rows)
        assert min(sizes) > 3 * limit
        maps = [np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy")]
        check(net, *maps, some)
    finally:
        (tmp_path / "y.npy").unlink(missing_ok=True)


COMMAND = """
model, x, first, y = sys.argv[1:]
assert cli.main(["predict", model, first, "-o", y]) == 0  # libraries, threads and their memory are there
value = limit(resource.RLIMIT_AS, "VmSize", 96 << 20)
assert refused(lambda: np.load(x, mmap_mode="r")), "the limit is none"
assert cli.main(["predict", model, x, "-o", y]) == 0
print(value)
"""


def test_command_line_below_a_limit_of_addresses(tmp_path):
    pytest.importorskip("safetensors")
    net, rows, width = network(512, 8, 3), 1_500_000, 512
    fastnet.save(net, tmp_path / "model.safetensors")
    some = sparse(tmp_path / "x.npy", rows, width)
    sparse(tmp_path / "first.npy", 20_000, width)
    [limit] = run(
        COMMAND, *(tmp_path / name for name in ("model.safetensors", "x.npy", "first.npy", "y.npy"))
    )
    assert (tmp_path / "x.npy").stat().st_size > 4 * limit
    check(net, np.load(tmp_path / "x.npy", mmap_mode="r"), np.load(tmp_path / "y.npy"), some)


PEAK = """
assert cli.main(sys.argv[1:]) == 0
print(used("VmHWM"))  # unlike ru_maxrss, of this program: not of the one that started it
"""


@pytest.mark.parametrize(
    ("name", "rows", "order", "output"),
    [
        ("x.npy", 400_000, "C", "y.npy"),
        ("x.npy", 400_000, "F", "y.npy"),
        ("x.csv", 60_000, "C", "y.csv"),
        ("x.csv", 60_000, "C", "y.npy"),
    ],
)
def test_memory_does_not_grow_with_the_file(tmp_path, name, rows, order, output):
    """Resident memory, at its highest: the pages of files that are mapped count."""
    pytest.importorskip("safetensors")
    fastnet.save(network(16, 8, 16), tmp_path / "model.safetensors")
    sizes, peaks = [], []
    for n in (rows, 5 * rows):
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, np.zeros((n, 16), np.float32, order))
        else:
            path.write_text(",".join(["-1.2345678"] * 16) + "\n")
            path.write_text(path.read_text() * n)
        sizes.append(path.stat().st_size)
        arguments = ["predict", tmp_path / "model.safetensors", path, "-o", tmp_path / output]
        peaks += run(PEAK, *arguments)
        path.unlink()
        (tmp_path / output).unlink()
    assert sizes[1] - sizes[0] > 40 * MEGABYTE
    assert peaks[1] - peaks[0] < 16 * MEGABYTE, f"{peaks} for {sizes}"
