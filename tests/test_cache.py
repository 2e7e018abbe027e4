"""The cache of compiled kernels: never stale, and never in the way when it is missing or broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fastnet"
CALL = """
import warnings
import numpy as np
from fastnet import Affine, Sigmoid
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    y = Affine(np.eye(2, dtype=np.float32), np.ones(2, np.float32)).forward(np.zeros((1, 2), np.float32))
    s = Sigmoid().forward(np.zeros(1, np.float32))
print(y.tolist(), s.tolist(), [str(w.message)[:40] for w in caught])
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A copy of the package, and a cache that its float32 kernels have been compiled into."""
    place = tmp_path_factory.mktemp("cache")
    shutil.copytree(PACKAGE, place / "src" / "fastnet", ignore=shutil.ignore_patterns("__pycache__"))
    assert call(place) == "[[1.0, 1.0]] [0.5] []"
    assert list((place / "cache").rglob("*.nbi"))
    return place


def call(place, cache="cache", **settings):
    places = {"PYTHONPATH": str(place / "src"), "NUMBA_CACHE_DIR": str(place / cache)}
    env = {**os.environ, **places, **settings}
    done = subprocess.run([sys.executable, "-c", CALL], env=env, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_second_process_compiles_nothing(filled):
    before = {p: p.stat().st_mtime_ns for p in (filled / "cache").rglob("*.nb?")}
    assert call(filled) == "[[1.0, 1.0]] [0.5] []"
    assert {p: p.stat().st_mtime_ns for p in (filled / "cache").rglob("*.nb?")} == before


def test_an_edited_kernel_is_compiled_anew(filled):
    """An edit in a file that no cached function lies in."""
    path = filled / "src" / "fastnet" / "kernels" / "sigmoid.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("    return residual", "    return x.like(2.0) * residual"))
        assert call(filled) == "[[1.0, 1.0]] [1.0] []"
    finally:
        path.write_text(text)


@pytest.mark.parametrize(("suffix", "damage"), [("nbi", "garbage"), ("nbc", "truncated")])
def test_a_damaged_cache_is_done_without(filled, tmp_path, suffix, damage):
    for path in (filled / "cache").rglob("*"):
        target = tmp_path / path.relative_to(filled / "cache")
        if path.is_dir():
            target.mkdir(parents=True)
        elif path.suffix == f".{suffix}":
            data = path.read_bytes()
            target.write_bytes(b"\x07garbage" * 9 if damage == "garbage" else data[: len(data) // 2])
        else:
            target.write_bytes(path.read_bytes())
    shutil.rmtree(filled / "damaged", ignore_errors=True)
    shutil.copytree(tmp_path, filled / "damaged")
    answer = call(filled, "damaged")
    assert answer.startswith("[[1.0, 1.0]] [0.5] ")
    assert answer.count("fastnet compiles without a cache") <= 1


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
