"""A fitted estimator of scikit-learn beside what fastnet and skl2onnx make of it: ``predict_proba``."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import fastnet
from benchmarks.common import Problem
from benchmarks.libraries import Predict, onnx_session, verified
from fastnet import reference

#: Label -> rows. Append only.
ESTIMATORS = {f"MLPClassifier 64-100-10 relu x {rows}": rows for rows in (1, 10_000)}
#: What is compared with fastnet.
LIBRARIES = ("scikit-learn", "onnxruntime")


@cache
def fitted(dtype: str) -> tuple[Any, np.ndarray]:
    """The classifier, fitted on scikit-learn's digits in this dtype, and the digits."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(dtype)
    return MLPClassifier((100,), activation="relu", tol=1e-3, random_state=0).fit(x, y), x


def estimator_problem(label: str, dtype: str, max_size: int | None = None) -> Problem:
    """``from_sklearn(estimator).predict_proba`` beside the reference; digits repeat to fill the rows."""
    estimator, digits = fitted(dtype)
    rows = min(ESTIMATORS[label], max_size or ESTIMATORS[label])
    net = reference.TwoLayerNet(1, 1, 1)
    first, last = map(reference.Affine, estimator.coefs_, estimator.intercepts_)
    net.layers = [first, reference.ReLU(), last, reference.Softmax()]
    x = digits[np.arange(rows) % len(digits)]
    return Problem(net.layers, x, net.predict, fastnet.from_sklearn(estimator).predict_proba)


def _onnxruntime(estimator: Any, x: np.ndarray, threads: int) -> Predict:
    import skl2onnx

    model = skl2onnx.to_onnx(estimator, x[:1], options={"zipmap": False})
    session = onnx_session(model.SerializeToString(), threads)
    return lambda: session.run(["probabilities"], {"X": x})[0]


def prepared(library: str, label: str, dtype: str, threads: int, max_size: int | None = None) -> Predict:
    """A callable of this library that answers the problem; raise unless the answer is right."""
    problem = estimator_problem(label, dtype, max_size)
    estimator, _ = fitted(dtype)
    if library == "fastnet":
        problem.verify()
        return problem.fastnet
    if library == "scikit-learn":
        return verified(problem, lambda: estimator.predict_proba(problem.x))
    return verified(problem, _onnxruntime(estimator, problem.x, threads))
