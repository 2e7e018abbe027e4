"""No touch outside: arrays and scratch memory lie against pages that nobody may read or write."""

import os
import subprocess
import sys

import pytest

from tests.isolation import ROOT, tried
from tests.overruns import WAYS
from tests.targets import ANOTHER_MAKE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forbids pages with mprotect")


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_wrong_is_reported(way):
    """An overrun of one byte, on either side, ends the process, and the report says what was tried."""
    said = {"hang": "exit code 1", "hang_for_good": "no end after 2 s", "exception": "exit code 1"}
    error = IndexError if way == "silence" else AssertionError
    with pytest.raises(error) as caught:
        tried("tests.overruns", way, timeout=2 if way == "hang_for_good" else 300)
    if way != "silence":
        assert str(caught.value).startswith(said.get(way, "SIGSEGV")), caught.value
        assert f"to {way}, number 77" in str(caught.value)
    if way == "exception":
        assert "ValueError: wrong answer" in str(caught.value)


def test_fenced(record_property):
    """A sample of all shapes up to 40 in each dimension; tile, block and cache edges; several layers."""
    groups = ("product:29", "edges:89", "large:11", "wide:2", "networks:97", "activations")
    count = tried("tests.guarded", *groups, timeout=600)
    record_property("tried", count)
    assert count > 100_000


def test_fenced_on_another_make_of_cpu(record_property, tmp_path):
    """Few rows and weights across cache lines go other ways there."""
    groups = ("edges:89", "large:11", "wide:2")
    count = tried("tests.guarded", *groups, timeout=600, NUMBA_CACHE_DIR=str(tmp_path), **ANOTHER_MAKE)
    record_property("tried", count)
    assert count > 10_000


def test_fenced_for_compiled_callers(record_property):
    count = tried("tests.guarded", "compiled:29", timeout=600)
    record_property("tried", count)
    assert count > 1000


@pytest.mark.long
@pytest.mark.parametrize("group", ["product", "edges:3", "large", "networks", "compiled"])
def test_all_fenced(group, record_property):
    count = tried("tests.guarded", group, timeout=3600)
    record_property("tried", count)
    assert count > 5_000


def test_memory_for_few_outputs_and_few_rows_fenced(record_property, tmp_path):
    """What the kernels take from the stack, where results are turned back in it."""
    groups = ("few:1:float32",)  # one dtype: all of its kernels are compiled anew
    count = tried("tests.guarded_scratch", "guarded", *groups, timeout=600, NUMBA_CACHE_DIR=str(tmp_path))
    record_property("tried", count)
    assert count > 5_000


@pytest.mark.long
def test_memory_of_the_kernels_fenced(record_property, tmp_path):
    """What they take from the stack and from the heap as well."""
    groups = ("product:5", "edges:29", "few", "large", "networks:7", "activations", "compiled:3")
    count = tried("tests.guarded_scratch", "guarded", *groups, timeout=3600, NUMBA_CACHE_DIR=str(tmp_path))
    record_property("tried", count)
    assert count > 100_000


def test_fenced_training(record_property):
    """Forward, backward, updates and epochs: a sample of all shapes, and of their edges."""
    count = tried(
        "tests.guarded_training",
        "product:797",
        "edges:1493",
        "networks:197",
        "large:59",
        "wide:3",
        timeout=600,
    )
    record_property("tried", count)
    assert count > 3_000


@pytest.mark.long
@pytest.mark.parametrize("group", ["product:29", "edges:29", "networks:29", "large"])
def test_all_training_fenced(group, record_property):
    count = tried("tests.guarded_training", group, timeout=3600)
    record_property("tried", count)
    assert count > 1_000


@pytest.mark.long
def test_memory_of_the_training_kernels_fenced(record_property, tmp_path):
    """What they take from the stack, too; and no more from the heap than what each call asks for."""
    groups = ("guarded_training", "product:397", "edges:397", "networks:97", "large:3")
    count = tried("tests.guarded_scratch", *groups, timeout=3600, NUMBA_CACHE_DIR=str(tmp_path))
    record_property("tried", count)
    assert count > 5_000


def test_bounds_of_arrays_checked(tmp_path):
    """NUMBA_BOUNDSCHECK=1 checks arrays and tuples in compiled code, the fences what goes by its address."""
    program = """
import numba
import numpy as np
from tests.cases import LABELS, case
from tests.compare import same_case

@numba.njit(boundscheck=False)
def beyond(a):
    return a[a.size]

try:
    beyond(np.ones(3))
except IndexError:
    print("checked")
for label in LABELS:
    for sizes, lead in [((5, 9, 3), (7,)), ((17, 33, 70), (67,)), ((300, 2, 9), ()), ((4, 6, 2), (2, 3))]:
        for layout in ("C", "F", "strided"):
            same_case(case(label, "float64", sizes, lead, layout, layout))
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NUMBA_BOUNDSCHECK": "1",
            "NUMBA_CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["checked", "done"]
