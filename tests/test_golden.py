"""The same bits on every Python and NumPy, on any number of threads: those in golden.json.

test_machine_code.py holds other instruction sets and optimisation levels to them.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastnet import fused, threads
from tests import golden

KNOWN = json.loads(golden.FILE.read_text())


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


@pytest.fixture
def prepared():
    """All kernels: a call that has some compiled first comes back, and would be counted twice."""
    for dtype in golden.DTYPES:
        fused.kernels(np.dtype(dtype)).prepare()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.usefixtures("prepared")
def test_known_bits_on_threads(count, monkeypatch):
    """Every call on so many threads, however small, in pieces of few rows."""
    pieces = []
    run_in_pieces = threads.in_pieces

    def counted(function, context, rows, work):
        pieces.append(rows // threads.piece_rows(rows, work, count))
        return run_in_pieces(function, context, rows, work)

    monkeypatch.setattr(threads, "_PAYS", 1)
    monkeypatch.setattr(threads, "_ROWS", 1)
    monkeypatch.setattr(threads, "_wanted", count)
    monkeypatch.setattr(fused, "in_pieces", counted)
    monkeypatch.setattr(fused, "strip_threads", lambda *work: 1)
    monkeypatch.setattr(
        fused, "_run", lambda c, x, out, layers, acts: fused.run_large(c, x, out, layers, c.program(acts))
    )
    assert golden.hashes() == KNOWN
    networks = len(golden.DTYPES) * (len(golden.NETWORKS) + len(golden.ACTIVATED))
    assert len(pieces) == networks, "some call took another way"
    assert (max(pieces) > 1) == (count > 1)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.usefixtures("prepared")
def test_known_bits_with_columns_shared_out(count, monkeypatch):
    calls, together = [], threads.together
    monkeypatch.setattr(fused, "strip_threads", lambda *work: count)
    monkeypatch.setattr(fused, "together", lambda *args: calls.append(args) or together(*args))
    monkeypatch.setattr(
        fused, "_run", lambda c, x, out, layers, acts: fused.run_large(c, x, out, layers, c.program(acts))
    )
    assert golden.hashes() == KNOWN
    assert len(calls) == len(golden.DTYPES) * (len(golden.NETWORKS) + len(golden.ACTIVATED))
