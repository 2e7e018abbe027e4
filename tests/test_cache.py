"""The cache of compiled kernels: never stale, and never in the way when it is missing or broken."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest
from numba.core.caching import FunctionCache

import fastnet
from fastnet.kernels import cache, entry, jit, training_entry

PACKAGE = Path(fastnet.__file__).parent
CALL = """
import warnings
import numpy as np
from fastnet import Affine, Sigmoid
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    y = Affine(np.eye(2, dtype=np.float32), np.ones(2, np.float32)).forward(np.zeros((1, 2), np.float32))
    s = Sigmoid().forward(np.zeros(1, np.float32))
print(y.tolist(), s.tolist(), [str(w.message) for w in caught])
"""
#: needs the kernels for large layers, too
LARGE = f"""{CALL}
large = Affine(np.eye(64, dtype=np.float32), np.ones(64, np.float32))
assert (large.forward(np.ones((3000, 64), np.float32)) == 2).all()
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A copy of the package, and a cache that its float32 kernels have been compiled into."""
    place = tmp_path_factory.mktemp("cache")
    shutil.copytree(PACKAGE, place / "src" / "fastnet", ignore=shutil.ignore_patterns("__pycache__"))
    assert call(place) == "[[1.0, 1.0]] [0.5] []"
    assert len(quick_to_compile(place / "cache")) == 2
    return place


def quick_to_compile(cache):
    """Files of functions that take little time to compile anew."""
    return [path for path in cache.rglob("*.nbc") if ".alone-" in path.name or ".run_few-" in path.name]


def call(place, cache="cache", before="", code=CALL, **settings):
    places = {"PYTHONPATH": str(place / "src"), "NUMBA_CACHE_DIR": str(place / cache)}
    changes = {**places, **settings}
    env = {name: value for name, value in {**os.environ, **changes}.items() if value is not None}
    command = [sys.executable, "-c", f"{before}\n{code}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=place, timeout=600)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


def written(cache):
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}


def test_second_process_compiles_nothing(filled):
    before = written(filled / "cache")
    assert call(filled) == "[[1.0, 1.0]] [0.5] []"
    assert written(filled / "cache") == before


SPEED = """
import timeit
import numpy as np
import fastnet
net, twin, x = fastnet.TwoLayerNet(2, 10, 3), fastnet.reference.TwoLayerNet(2, 10, 3), np.random.randn(30, 2)
net.predict(x)
times = [timeit.timeit(lambda: of.predict(x), number=100) for _ in range(200) for of in (net, twin)]
print(min(times[::2]) / min(times[1::2]))
"""


def test_code_is_as_fast_where_it_was_compiled(tmp_path):
    """Parts that had been made machine code alone, too, were run instead: two to five times as long."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "fastnet", ignore=shutil.ignore_patterns("__pycache__"))
    compiled, *loaded = (float(call(tmp_path, code=SPEED)) for _ in range(3))
    assert compiled < 1.7 * max(loaded)  # beside the reference of the same process


def test_what_raises_is_rewritten():
    """Its exceptions would be made anew at each raise, by code that may lack the interpreter lock."""

    def raises(x):
        if x > 0:
            raise ValueError("x is positive")
        return x

    assert jit.without_rewrites(raises) == {"no_rewrites": False}
    assert jit.without_rewrites(lambda x: x + 1) == {"no_rewrites": True}
    assert not training_entry.make_entries("", False)[0].targetoptions["no_rewrites"]


def test_other_threads_compile_whole_functions():
    """What another thread compiles while fastnet compiles a part is no part."""
    inside, done = threading.Event(), threading.Event()

    def compile():
        inside.wait()
        assert numba.njit(lambda x: x + 1)(1) == 2
        done.set()

    other = threading.Thread(target=compile)
    other.start()
    with jit._parts():
        inside.set()
        assert not done.wait(0.5)
    other.join()
    assert done.is_set()
    assert numba.njit(lambda x: x + 2)(1) == 3


def test_nothing_is_compiled_twice(tmp_path):
    """Of all that the tests have compiled so far, and of what a large layer needs."""
    usual = {name: os.environ.get(name) for name in ("PYTHONPATH", "NUMBA_CACHE_DIR")}
    assert call(tmp_path, code=LARGE, **usual) == "[[1.0, 1.0]] [0.5] []"
    before = written(Path(FunctionCache(entry.make_entries).cache_path))
    assert call(tmp_path, code=LARGE, **usual) == "[[1.0, 1.0]] [0.5] []"
    assert len(before) > 5
    assert written(Path(FunctionCache(entry.make_entries).cache_path)) == before


def test_an_edited_kernel_is_compiled_anew(filled):
    """An edit in a file that no cached function lies in."""
    path = filled / "src" / "fastnet" / "kernels" / "sigmoid.py"
    text = path.read_text()
    shutil.copytree(filled / "cache", filled / "edited")
    try:
        path.write_text(text.replace("    return residual", "    return x.like(2.0) * residual"))
        assert call(filled, "edited") == "[[1.0, 1.0]] [1.0] []"
    finally:
        path.write_text(text)


def bytes_of(data: bytes, damage: str, rng: random.Random) -> bytes:
    """What is left of a file."""
    place = rng.randrange(len(data))
    return {
        "empty": b"",
        "cut": data[:place],
        "one byte short": data[:-1],
        "garbage": rng.randbytes(len(data)),
        "hole": data[:place] + bytes(min(4096, len(data) - place)) + data[place + 4096 :],
        "zeros": bytes(len(data)),
        "flipped": data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
        "longer": data + b"more",
    }[damage]


DAMAGES = ["empty", "cut", "one byte short", "garbage", "hole", "zeros", "flipped", "longer"]


@pytest.mark.parametrize("damage", [*DAMAGES, "of another", "a folder", "index"])
def test_a_damaged_cache_is_mended_or_done_without(filled, damage, record_property):
    folder = filled / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(filled / "cache", folder)
    files = quick_to_compile(folder)
    contents, rng = [path.read_bytes() for path in files], random.Random(damage)
    for i, path in enumerate(files):
        if damage == "a folder":
            path.unlink()
            path.mkdir()
        elif damage == "index":  # one of Numba's, from a version that had it
            path.with_suffix("").with_suffix(".nbi").write_bytes(rng.randbytes(99))
        else:
            path.write_bytes(
                contents[i - 1] if damage == "of another" else bytes_of(contents[i], damage, rng)
            )
    answer = call(filled, "damaged")
    record_property("tried", len(files))
    if damage == "a folder":
        assert answer.startswith("[[1.0, 1.0]] [0.5] ")
        assert "fastnet compiles without a cache: IsADirectoryError" in answer
        assert answer.count("fastnet compiles") == 1
    else:
        assert answer == "[[1.0, 1.0]] [0.5] []"
        for path in files:
            kept, name = path.read_bytes(), os.fsencode(path.name)
            checksum = hashlib.sha256(name + b"\0" + kept[32:]).digest()
            assert checksum == kept[:32], f"{path.name} is not mended"


def files_in(folder):
    from fastnet.kernels.cache import _Files

    return _Files(str(folder), "sweep-1.py311", None)


def test_damage_is_seen(tmp_path, record_property):
    files, rng, data = files_in(tmp_path), random.Random(0), (b"code" * 100, {"name": "sweep"})
    files.save("key", data)
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for i in range(5000):
        damaged = bytes_of(whole, DAMAGES[i % len(DAMAGES)], rng)
        path.write_bytes(damaged)
        assert files.load("key") == (data if damaged == whole else None)
    files.save("key", data)
    assert files.load("key") == data
    files.save("other", "other code")  # whole, but in the wrong place
    [other] = set(tmp_path.iterdir()) - {path}
    other.replace(path)
    assert files.load("key") is None
    record_property("tried", 5001)


def test_nothing_is_taken_for_something_else(tmp_path, monkeypatch):
    """A save that fails half-way leaves nothing under the new name, and under the old one what was there."""
    files = files_in(tmp_path)
    files.save("old", "old code")
    with monkeypatch.context() as full:
        full.setattr(cache, "dumps", lambda data: FullDisk())
        with pytest.raises(OSError, match="No space"):
            files.save("new", "new code")
    assert files.load("new") is None
    assert files.load("old") == "old code"
    assert len(list(tmp_path.iterdir())) == 1


class FullDisk(bytes):
    def __radd__(self, other):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_write_at_once(tmp_path, record_property):
    files, keys = files_in(tmp_path), ["float32", "float64"]
    code = {key: [key] * 20_000 for key in keys}
    children: list[int] = []
    for key in [*keys, *keys]:
        children.append(os.fork())
        if not children[-1]:
            try:
                for _ in range(50):
                    files.save(key, code[key])
                    assert files.load(key) == code[key]
                os._exit(0)
            finally:
                os._exit(1)
    for _ in range(200):
        for key in keys:
            assert files.load(key) in (None, code[key])
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    record_property("tried", 600)


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk(filled, record_property):
    """Some code is there, and the rest cannot be written."""
    folder = filled / "full"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(filled / "cache", folder)
    for path in quick_to_compile(folder):
        path.unlink()
    before = sorted(folder.rglob("*"))
    answer = call(filled, "full", before=LIMITED)
    assert answer.startswith("[[1.0, 1.0]] [0.5] ")
    assert "fastnet compiles without a cache: OSError: [Errno 27]" in answer
    assert answer.count("fastnet compiles") == 1
    assert sorted(folder.rglob("*")) == before, "something half-written is left"
    record_property("tried", 1)


def test_without_a_home(filled, record_property):
    assert call(filled, HOME=None, XDG_CACHE_HOME=None) == "[[1.0, 1.0]] [0.5] []"
    record_property("tried", 1)


def test_from_a_zip_file(tmp_path, record_property):
    """Imported, compiled and cached; the second process loads it."""
    archive = shutil.make_archive(str(tmp_path / "fastnet"), "zip", PACKAGE.parent, PACKAGE.name)
    check, files = f"import fastnet; assert {archive!r} in fastnet.__file__", []
    for _ in range(2):
        home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}  # for a zip file, Numba goes by that alone
        assert call(tmp_path, PYTHONPATH=archive, before=check, **home) == "[[1.0, 1.0]] [0.5] []"
        files.append(written(tmp_path))
    assert len(files[0]) >= 3
    assert files[0] == files[1], "it was compiled twice"
    record_property("tried", 2)


@pytest.mark.long
def test_two_processes_fill_one_cache(filled, record_property):
    """Of either dtype, at once; then nothing is left to compile."""
    for round_ in range(3):
        folder = f"both-{round_}"
        with ThreadPoolExecutor(4) as pool:
            code = [LARGE, LARGE.replace("float32", "float64")] * 2
            answers = list(pool.map(lambda c, folder=folder: call(filled, folder, code=c), code))
        assert answers == ["[[1.0, 1.0]] [0.5] []"] * 4
        before = written(filled / folder)
        assert [call(filled, folder, code=c) for c in code] == answers
        assert written(filled / folder) == before
    record_property("tried", 12)


#: drops root's right to write where permissions forbid it: CAP_DAC_OVERRIDE leaves with the next exec
AS_ANYBODY = """
import ctypes, os, sys
if not os.environ.get("DROPPED"):
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
    os.execve(sys.executable, sys.orig_argv, {**os.environ, "DROPPED": "1"})
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
@pytest.mark.parametrize("home", ["none", None])
def test_a_read_only_install(filled, home, record_property):
    """No folder may be written to that Numba would try."""
    place = filled / "read-only"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(filled / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "cache").mkdir()
    folders = [place, *[path for path in place.rglob("*") if path.is_dir()]]
    for folder in folders:
        folder.chmod(0o555)
    try:
        nowhere = str(place / "none")  # which root could make anywhere else
        answer = call(place, HOME=nowhere if home else "", XDG_CACHE_HOME=nowhere, before=AS_ANYBODY)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert answer.startswith("[[1.0, 1.0]] [0.5] ")
    assert "fastnet compiles without a cache: RuntimeError" in answer
    assert answer.count("fastnet compiles") == 1
    record_property("tried", 1)


def test_no_place_for_a_cache(filled):
    """No folder that Numba would try can be made: right answers, and one warning."""
    folder = filled / "src" / "fastnet" / "kernels" / "__pycache__"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("a file, not a folder")
    try:
        answer = call(filled, "src/fastnet/py.typed/cache", XDG_CACHE_HOME=str(folder))
    finally:
        folder.unlink()
    assert answer.startswith("[[1.0, 1.0]] [0.5] ")
    assert answer.count("fastnet compiles without a cache") == 1
    assert "no locator available" in answer
