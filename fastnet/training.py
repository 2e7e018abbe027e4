"""Training a network: whole epochs in compiled code, with the global interpreter lock released."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np

from fastnet import losses, optimizers
from fastnet.epochs import Epochs, trained_layers

Array = np.ndarray[Any, Any]


@dataclass
class History:
    """What `fit` returns: a number for each epoch.

    Attributes
    ----------
    loss : list of float
        Mean loss of the epoch's rows, each as it was before its batch's update.
    validation_loss : list of float
        Mean loss of the validation rows after the epoch; empty without validation. NaN if it is.
    validation_accuracy : list of float
        Share of the validation rows whose class has the largest score, or, after `SigmoidWithLoss`, of
        outputs on the right side of 0.5; empty for `MeanSquaredError`.
    stopped : bool
        Whether the callback ended it early.

    Examples
    --------
    >>> from fastnet.training import History
    >>> len(History(loss=[1.5, 0.5]))
    2
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    stopped: bool = False

    def __len__(self) -> int:
        return len(self.loss)


def fit(
    model: Any,
    x: Any,
    t: Any,
    epochs: SupportsIndex = 10,
    batch_size: SupportsIndex = 32,
    optimizer: Any = "SGD",
    loss: Any = None,
    shuffle: bool = True,
    seed: Any = None,
    validation: tuple[Any, Any] | None = None,
    callback: Callable[[History], object] | None = None,
) -> History:
    """Train a network.

    Each epoch runs through the rows of x in batches: scores, loss, gradients, and a step of the optimiser.
    The weights become, to the bit, what a loop of `forward`, `backward` and `update` over the same batches
    makes of them. The parameters are changed in place, in the arrays that the layers hold when `fit` is
    called. Other threads run meanwhile; they should leave the model alone.

    On a terminal, a bar shows how far it is, if tqdm is there (extra ``cli``). Ctrl-C ends training
    between two batches: the model is as the last one left it, the optimiser's state too.

    Parameters
    ----------
    model : Sequential or TwoLayerNet
        Of layers of fastnet: Affine, AffineSigmoid, Sigmoid, Tanh, ReLU, Softmax. The parameters are
        float32 or float64, all of one dtype.
    x : array_like
        Of shape (rows, fan_in), real, of a dtype that NumPy converts to that of the parameters in a product
        with them: float32 for float64 parameters is converted, float64 for float32 refused. If it is
        contiguous and of their dtype, it is read where it lies.
    t : array_like
        The targets of all rows, in the form that the loss takes.
    epochs : int
        How often to go through all rows.
    batch_size : int
        Rows of a batch; the last one of an epoch has what is left.
    optimizer : SGD, Momentum or Adam
        Instance, class, or name of one. An instance keeps its state, and goes on where it was; its rates are
        read before each epoch.
    loss : SoftmaxWithLoss, SigmoidWithLoss or MeanSquaredError, optional
        Instance, class, or name of one. By default the `loss_layer` of the model.
    shuffle : bool
        Whether each epoch takes the rows in another order:
        ``numpy.random.default_rng(seed).permutation(rows)``, once for each epoch.
    seed : int or Generator, optional
        What the orders are drawn with; other ones in each call unless given.
    validation : pair of array_like, optional
        Other x and t, whose loss is taken after each epoch.
    callback : callable, optional
        Called after each epoch with the `History` so far. If it returns something true, training stops.

    Returns
    -------
    History
        Losses of all epochs.

    Raises
    ------
    ValueError
        If shapes do not fit together, there are no rows, classes are out of range, numbers are NaN or
        infinite, parameters are read-only or overlap, or a number of epochs or rows is too small.
    TypeError
        If there is another layer, loss, optimiser or dtype than those above. Nothing has been changed by
        either.
    FloatingPointError
        If the loss of a batch is NaN or infinite. Training stops before that batch's update; the
        parameters are as the batch before it left them.
    MemoryError
        If there is no memory for the gradients and outputs of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnet
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> t = np.array([0, 1, 1, 0])
    >>> np.random.seed(0)
    >>> net = fastnet.TwoLayerNet(2, 8, 2)
    >>> history = fastnet.fit(net, x, t, epochs=2000, batch_size=4, optimizer=fastnet.SGD(lr=0.5), seed=0)
    >>> net.predict(x).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    layers, dtype = trained_layers(model)
    count, size = _at_least(0, epochs, "epochs"), _at_least(1, batch_size, "batch_size")
    loss_layer = _loss_of(model, loss, layers)
    chosen = _instance(optimizer, "optimizer", (optimizers.SGD, optimizers.Momentum, optimizers.Adam))
    rows, targets = _rows(x, t, layers, dtype, loss_layer)
    held_out = None
    if validation is not None:
        if not isinstance(validation, (tuple, list)):
            raise TypeError(f"validation must be a pair (x, t), not {type(validation).__name__}")
        if len(validation) != 2:
            raise ValueError(f"validation must be a pair (x, t), not {len(validation)} arrays")
        held_out = _rows(*validation, layers, dtype, loss_layer, "validation ")
    generator = np.random.default_rng(seed)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, not {type(callback).__name__}")
    history = History()
    run = Epochs(layers, rows, targets, size, chosen, loss_layer)
    with _progress(count * run.batches) as advance:
        for _ in range(count):
            history.loss.append(run.epoch(generator.permutation(len(rows)) if shuffle else None, advance))
            if held_out is not None:
                _validate(model, *held_out, loss_layer, history)
            if callback is not None and callback(history):
                history.stopped = True
                break
    return history


def _at_least(least: int, value: SupportsIndex, name: str) -> int:
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def _instance(value: Any, name: str, classes: tuple[type, ...]) -> Any:
    """An instance of one of the classes, from itself, its class or its name."""
    names = {c.__name__: c for c in classes}
    if isinstance(value, str):
        if value not in names:
            raise ValueError(f"{name} must be one of {', '.join(names)}, not {value!r}")
        value = names[value]
    if isinstance(value, type) and value in classes:
        return value()
    if type(value) in classes:
        return value
    kind = value.__name__ if isinstance(value, type) else type(value).__name__
    raise TypeError(f"{name} must be one of {', '.join(names)}, not {kind}")


def _loss_of(model: Any, loss: Any, layers: list[Any]) -> Any:
    known = (losses.SoftmaxWithLoss, losses.SigmoidWithLoss, losses.MeanSquaredError)
    found = _instance(getattr(model, "loss_layer", None) if loss is None else loss, "loss", known)
    for kind, last in ((losses.SoftmaxWithLoss, "Softmax"), (losses.SigmoidWithLoss, "Sigmoid")):
        if type(found) is kind and layers[-1].ends_with == last:
            raise ValueError(
                f"the network ends with a {last}, which {kind.__name__} applies itself: train it without, "
                "and append it afterwards"
            )
    return found


def _rows(
    x: Any, t: Any, layers: list[Any], dtype: np.dtype[Any], loss_layer: Any, name: str = ""
) -> tuple[Array, Array]:
    """x and t checked, and in the form that the kernels take."""
    array = np.asarray(x)
    fan_in, fan_out = layers[0].fan_in, layers[-1].fan_out
    if array.dtype.kind not in "biuf" or np.result_type(array.dtype, dtype) != dtype:
        raise TypeError(f"{name}x has dtype {array.dtype}, but the parameters have {dtype}: convert one")
    if array.ndim != 2 or array.shape[1] != fan_in:
        raise ValueError(f"{name}x must be of shape (rows, {fan_in}), not {array.shape}")
    if not len(array):
        raise ValueError(f"{name}x of shape {array.shape} has no rows")
    rows = np.ascontiguousarray(array, dtype).view(np.ndarray)
    scores = np.broadcast_to(np.zeros((), dtype), (len(rows), fan_out))
    targets = loss_layer._target(scores, t)
    if targets.dtype.kind == "i" and not 0 <= targets.min() <= targets.max() < fan_out:
        wrong = np.flatnonzero((targets < 0) | (targets >= fan_out))[0]
        raise ValueError(f"{name}t[{wrong}] is {targets[wrong]}, but the network has {fan_out} classes")
    for which, numbers in (("x", rows), ("t", targets)):
        if numbers.dtype.kind == "f" and not _all_finite(numbers):
            raise ValueError(f"{name}{which} of shape {numbers.shape} has NaN or infinite elements")
    return rows, targets


def _all_finite(array: Array) -> bool:
    return bool(np.isfinite([array.min(), array.max()]).all())


def _validate(model: Any, x: Array, t: Array, loss_layer: Any, history: History) -> None:
    scores = model.predict(x)
    try:
        value = float(type(loss_layer)().forward(scores, t))
    except ValueError:  # it is NaN
        value = math.nan
    history.validation_loss.append(value)
    if type(loss_layer) is losses.SoftmaxWithLoss:
        right = scores.argmax(axis=1) == (t if t.ndim == 1 else t.argmax(axis=1))
    elif type(loss_layer) is losses.SigmoidWithLoss:
        right = (scores > 0) == (t > 0.5)
    else:
        return
    history.validation_accuracy.append(float(right.mean()))


@contextmanager
def _progress(batches: int) -> Iterator[Callable[[int], object]]:
    """A function to be told of batches done, which draws a bar if stderr is a terminal and tqdm there."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:  # a bar is no part of the result
            pass
        else:
            with tqdm(total=batches, unit="batch", unit_scale=True, delay=0.5) as bar:
                yield bar.update
            return
    yield lambda done: None
