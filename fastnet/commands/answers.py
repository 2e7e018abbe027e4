"""What is computed for a block of rows: scores, probabilities or labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet import AffineSigmoid, Sequential, Sigmoid, Softmax
from fastnet.commands.errors import CommandError
from fastnet.commands.models import fan_out, network_of

Array = np.ndarray[Any, Any]
Answer = Callable[[Array], Array]


class NoLabel(Exception):
    """A row of the block has scores that are not numbers."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


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
        proba: Answer = model.predict_proba
        return proba
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
    network = network_of(model)
    is_classifier = hasattr(model, "predict_proba")
    by_threshold = fan_out(network) == 1 and _ends_in(network, Sigmoid, AffineSigmoid)
    if not is_classifier and not by_threshold:
        _need_classes(model)

    def of_scores(x: Array) -> Array:
        y = _numbers(network.predict(x))
        return (y[:, 0] > 0.5).astype(np.intp) if by_threshold else y.argmax(axis=1)

    def of_classifier(x: Array) -> Array:
        try:
            found: Array = model.predict(x)
            return found
        except ValueError:
            _numbers(network.predict(x))  # says which row it was
            raise

    return of_classifier if is_classifier else of_scores


def _numbers(y: Array) -> Array:
    bad = np.isnan(y).any(axis=1)
    if bad.any():
        raise NoLabel(int(bad.argmax()))
    return y


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


ANSWERS = {"scores": scores, "proba": probabilities, "labels": labels}
