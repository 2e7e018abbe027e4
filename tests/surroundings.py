"""Answers under an interpreter's settings: ``python [OPTIONS] -m tests.surroundings [--formats] [--locale]``.

Prints as JSON how many results were compared, and a digest of the bits of all that kernels computed. Nothing
here is an ``assert``, so that ``-O`` leaves it in place.
"""

from __future__ import annotations

import hashlib
import json
import locale
import os
import sys
import tempfile
from typing import Any

import numpy as np

import fastnet
from fastnet.estimators import Classifier
from tests import cases, golden
from tests.models import ARCHITECTURES

SIZES = [(2, 4, 3), (17, 33, 9), (257, 16, 13), (13, 257, 17)]
LEADS = [(1,), (7,), (33,), ()]
LAYOUTS = ["C", "strided", "byte-swapped"]


class Results:
    """What has been compared, and a digest of the bits."""

    def __init__(self) -> None:
        self.count, self.digest = 0, hashlib.sha256()

    def compare(self, name: str, got: Any, want: Any, exact: bool = False) -> None:
        tolerance = 1e-3 if got.dtype in (np.float16, np.float32, np.complex64) else 1e-9
        close = (
            np.array_equal(got, want, equal_nan=True)
            if exact
            else np.allclose(got, want, tolerance, tolerance)
        )
        if got.dtype != want.dtype or got.shape != want.shape or not close:
            raise SystemExit(f"{name}: {got!r} where {want!r} is due")
        self.count += 1

    def bits(self, array: Any) -> None:
        self.digest.update(np.ascontiguousarray(array).tobytes())


def table(results: Results) -> None:
    """A sample of the table of cases: every implementation and dtype."""
    for label in cases.LABELS:
        for dtype in ("float32", "float64", "int64", "complex128"):
            for sizes, lead in zip(SIZES, LEADS, strict=True):
                for layout in LAYOUTS if dtype in cases.KERNEL_DTYPES else ["C"]:
                    case = cases.case(label, dtype, sizes, lead, layout)
                    method = "predict" if hasattr(case.fast, "predict") else "forward"
                    got, want = (getattr(model, method)(case.x) for model in (case.fast, case.ref))
                    results.compare(case.name, got, want.astype(got.dtype))
                    if dtype in cases.KERNEL_DTYPES:
                        results.bits(got)
    for error, call in [
        (ValueError, lambda: fastnet.TwoLayerNet(2, 3, 4).predict(np.ones((3, 5)))),
        (TypeError, lambda: fastnet.TwoLayerNet(2, 3, 4).predict(np.ones((3, 2)), out=[])),
        (ValueError, lambda: fastnet.set_num_threads(0)),
    ]:
        try:
            call()
        except error:
            results.count += 1
        else:
            raise SystemExit(f"no {error.__name__}")


def known(results: Results) -> None:
    """Networks whose bits are known."""
    found = json.loads(golden.FILE.read_text())
    for name, value in golden.hashes().items():
        if found[name] != value:
            raise SystemExit(f"{name}: other bits than {found[name]}")
        results.count += 1


def formats(results: Results) -> None:
    """Everything that reads or writes models, the estimators, and compiled callers."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        for architecture in ARCHITECTURES[:3]:
            net, x = architecture.build("float32"), architecture.x("float32")
            want = net.predict(x)
            fastnet.save(net, path)
            results.compare("save", fastnet.load(path).predict(x), want, exact=True)
            fastnet.to_onnx(net, path)
            results.compare("to_onnx", fastnet.from_onnx(path).predict(x), want, exact=True)
            state = {}
            for i, (W, b) in enumerate(architecture.weights("float32")):
                state |= {f"{i}.weight": W.T, f"{i}.bias": b}
            again = fastnet.from_state_dict(state, architecture.activations)
            results.compare("from_state_dict", again.predict(x), want, exact=True)
        classifier, x = (
            Classifier(ARCHITECTURES[1].build("float64"), ["a", "b", "c"]),
            ARCHITECTURES[1].x("float64"),
        )
        fastnet.save(classifier, path)
        got, want = (c.predict_proba(x) for c in (fastnet.load(path), classifier))
        results.compare("classifier", got, want, exact=True)
    net, x = fastnet.TwoLayerNet(3, 5, 1), np.ones((4, 3))
    want, out = net.predict(x), np.empty((4, 1))
    predict, params = fastnet.njit_predict(net)
    predict(x, params, out)
    results.compare("njit_predict", out, want, exact=True)
    function = fastnet.cfunc_predict(net)
    row = x[0].ctypes.data_as(function.ctypes.argtypes[1])
    results.compare(
        "cfunc_predict", np.float64(function.ctypes(3, row, function.user_data)), want[0, 0], exact=True
    )
    results.count += len(str(fastnet.explain(net, 100))) > 0


def main() -> None:
    if "--locale" in sys.argv:
        locale.setlocale(locale.LC_ALL, "")
    results = Results()
    table(results)
    known(results)
    if "--formats" in sys.argv:
        formats(results)
    found: dict[str, Any] = {"tried": results.count, "digest": results.digest.hexdigest()}
    found["decimal_point"] = locale.localeconv()["decimal_point"]
    print(json.dumps({**found, "debug": __debug__, "documented": fastnet.load.__doc__ is not None}))


if __name__ == "__main__":
    main()
