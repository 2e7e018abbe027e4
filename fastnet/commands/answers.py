"""What is computed for a block of rows: scores, probabilities or labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet import AffineSigmoid, Sequential, Sigmoid, Softmax
from fastnet.commands.errors import CommandError, one_line
from fastnet.commands.models import fan_out, network_of

Array = np.ndarray[Any, Any]
Answer = Callable[[Array], Array]


def scores(model: Any) -> Answer:
    """What the last layer gives."""
    predict: Answer = network_of(model).predict
    return predict


def probabilities(model: Any) -> Answer:
    """Those of a classifier; of a network, what it gives through a softmax or a sigmoid at its end.

    A single sigmoid is the probability of the second of two classes: it becomes two columns. Where neither
    is the last layer, a softmax is applied.
    """
    if hasattr(model, "predict_proba"):
        return _told(model.predict_proba)
    if _ends_in(model, Softmax):
        return scores(model)
    if _ends_in(model, Sigmoid, AffineSigmoid):
        return scores(model) if fan_out(model) > 1 else _of_both_classes(model)
    _need_classes(model)
    return scores(Sequential([*model.layers, Softmax()]))


def labels(model: Any) -> Answer:
    """A classifier's own; of a network, the number of the largest score, the first where several are.

    For a single sigmoid it is 1 where that is above 0.5, and 0 elsewhere.
    """
    if hasattr(model, "predict_proba"):
        return _told(model.predict)
    by_threshold = fan_out(network_of(model)) == 1 and _ends_in(model, Sigmoid, AffineSigmoid)
    if not by_threshold:
        _need_classes(model)

    def answer(x: Array) -> Array:
        y: Array = model.predict(x)
        if np.isnan(y).any():
            raise CommandError("a row has scores that are not numbers (NaN), and so no label")
        return (y[:, 0] > 0.5).astype(np.intp) if by_threshold else y.argmax(axis=1)

    return answer


def _ends_in(model: Any, *classes: type) -> bool:
    return isinstance(network_of(model).layers[-1], classes)


def _need_classes(model: Any) -> None:
    if network_of(model) is not model:
        raise CommandError("the model is a regressor: it has neither probabilities nor labels")
    if fan_out(model) == 1:
        raise CommandError(
            "the model gives one number a row, through no sigmoid: it has neither probabilities nor labels"
        )


def _of_both_classes(network: Any) -> Answer:
    def answer(x: Array) -> Array:
        p: Array = network.predict(x)
        return np.concatenate([1 - p, p], axis=1)

    return answer


def _told(method: Answer) -> Answer:
    """A method of a classifier, which may refuse a row."""

    def answer(x: Array) -> Array:
        try:
            return method(x)
        except ValueError as error:
            raise CommandError(one_line(error)) from error

    return answer


ANSWERS = {"scores": scores, "proba": probabilities, "labels": labels}
