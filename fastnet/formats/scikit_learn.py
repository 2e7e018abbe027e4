"""Fitted estimators of scikit-learn, which is not imported: their classes are known by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.estimators import Classifier, Regressor
from fastnet.formats.parts import ACTIVATIONS, affine, check_widths
from fastnet.formats.scaling import Scaling
from fastnet.network import Sequential

#: scikit-learn's names of activations, where they are not ours
_NAMES = {"logistic": "sigmoid"}


def from_sklearn(estimator: Any) -> Classifier | Regressor:
    """A fitted multi-layer perceptron of scikit-learn, as an object with its methods.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or Pipeline
        Fitted. A pipeline may have StandardScaler and MinMaxScaler (without clip) before the perceptron;
        they are folded into its first layer.

    Returns
    -------
    Classifier or Regressor
        With the estimator's ``predict``, ``predict_proba``, ``predict_log_proba``, ``classes_``,
        ``n_features_in_`` and, where it has them, ``feature_names_in_``. It holds copies of the weights: a
        later fit of the estimator does not change it. float32 weights stay float32.

    Raises
    ------
    TypeError
        If the estimator, or a step of the pipeline, is of another class. The message names it.
    ValueError
        If it is not fitted; if it was fitted with the Poisson loss, whose exponential is no layer here; if a
        scaler clips, or scales features that vary so little beside their mean that the folded weights would
        lose precision: more than 1e-10 (float64) or 1e-5 (float32) relative to the layer's sums.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPClassifier
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), ["low", "low", "high", "high"]
    >>> fitted = MLPClassifier(solver="lbfgs", random_state=0).fit(x, y)
    >>> import fastnet
    >>> model = fastnet.from_sklearn(fitted)
    >>> model.predict([[0.2], [2.8]])
    array(['low', 'high'], dtype='<U4')
    """
    steps = _steps(estimator)
    scaling = None
    for step in steps[:-1]:
        new = _scaling(step)
        scaling = new if scaling is None else scaling.then(new)
    perceptron = steps[-1]
    kind = _sklearn_class(perceptron)
    if kind not in ("MLPClassifier", "MLPRegressor"):
        raise TypeError(_refusal(perceptron))
    if not hasattr(perceptron, "coefs_"):
        raise ValueError(f"this {kind} is not fitted")
    network = Sequential(_layers(perceptron, scaling))
    names = getattr(steps[0], "feature_names_in_", None)
    if kind == "MLPRegressor":
        return Regressor(network, names)
    several = perceptron.n_outputs_ > 1
    multilabel = several and perceptron.out_activation_ == "logistic"
    return Classifier(network, perceptron.classes_, multilabel, names)


def _sklearn_class(value: Any) -> str | None:
    """The name of a class of scikit-learn; None for any other class, also one derived from it."""
    cls = type(value)
    return cls.__name__ if cls.__module__.partition(".")[0] == "sklearn" else None


def _refusal(value: Any) -> str:
    text = (
        "from_sklearn takes a fitted MLPClassifier or MLPRegressor, alone or as the last step of a Pipeline "
        f"behind StandardScaler and MinMaxScaler, but no {type(value).__module__}.{type(value).__name__}"
    )
    return f"{text}; pass its best_estimator_" if hasattr(value, "best_estimator_") else text


def _steps(estimator: Any) -> list[Any]:
    """The steps of a pipeline, of pipelines in it too; an estimator alone is one step."""
    if _sklearn_class(estimator) != "Pipeline":
        return [estimator]
    steps: list[Any] = []
    for _, step in estimator.steps:
        if step is not None and not (isinstance(step, str) and step == "passthrough"):
            steps += _steps(step)
    if not steps:
        raise ValueError("a Pipeline without steps")
    return steps


def _scaling(step: Any) -> Scaling:
    name = _sklearn_class(step)
    read = _SCALERS.get(name or "")
    if read is None:
        raise TypeError(_refusal(step))
    if not hasattr(step, "n_features_in_"):
        raise ValueError(f"this {name} is not fitted")
    return read(step)


def _standard(scaler: Any) -> Scaling:
    """z = (x - mean_) / scale_, or only one half of it."""
    factor = 1.0 / np.asarray(scaler.scale_, np.float64) if scaler.with_std else 1.0
    mean = np.asarray(scaler.mean_, np.float64) if scaler.with_mean else 0.0
    return Scaling.of(factor, -mean * factor)


def _min_max(scaler: Any) -> Scaling:
    """z = x * scale_ + min_."""
    if scaler.clip:
        raise ValueError("MinMaxScaler(clip=True) is no affine map; fit it with clip=False")
    return Scaling.of(scaler.scale_, scaler.min_)


_SCALERS: dict[str, Callable[[Any], Scaling]] = {"StandardScaler": _standard, "MinMaxScaler": _min_max}


def _layers(perceptron: Any, scaling: Scaling | None) -> list[Any]:
    layers: list[Any] = []
    last = len(perceptron.coefs_) - 1
    for at, (W, b) in enumerate(zip(perceptron.coefs_, perceptron.intercepts_, strict=True)):
        if at == 0 and scaling is not None:
            W, b = scaling.fold(W, b, "the scaling before the perceptron")
        layers.append(affine(W, b, f"layer {at}"))
        layers += _activation(perceptron.out_activation_ if at == last else perceptron.activation)
    check_widths(layers)
    return layers


def _activation(name: str) -> list[Any]:
    """A list of the layer, empty for the identity."""
    if name == "exp":
        raise ValueError(
            'MLPRegressor(loss="poisson") ends in exp, for which fastnet has no layer; with out_activation_ '
            'set to "identity" on a copy of it, np.exp of what the model predicts is its prediction'
        )
    name = _NAMES.get(name, name)
    if name not in ACTIVATIONS:
        raise ValueError(f"fastnet has no activation {name!r}")
    layer = ACTIVATIONS[name]
    return [] if layer is None else [layer()]
