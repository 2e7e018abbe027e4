"""Networks: layers in a row, the fusable ones among them run as one compiled call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnet import fused, reference
from fastnet.arguments import check_apart, check_out
from fastnet.kernels.table import IDENTITY, SIGMOID
from fastnet.layers import ACTIVATIONS, Affine, AffineSigmoid, Sigmoid
from fastnet.shortcut import Shortcut, shortcut


def _is_own(layer: Any, *classes: type) -> bool:
    """Whether this is one of our layers with our own `forward`, not a subclass's or a user's."""
    return type(layer) in classes and "forward" not in vars(layer)


def fused_steps(layers: list[Any]) -> list[tuple[Any, int]]:
    """Fusable layers as (affine layer, its activation): an Affine takes the activation behind it along."""
    steps: list[tuple[Any, int]] = []
    may_take = False
    for layer in layers:
        if may_take and _is_own(layer, *ACTIVATIONS):
            steps[-1] = (steps[-1][0], layer._activation)
            may_take = False
        elif _is_own(layer, Affine, AffineSigmoid):
            may_take = type(layer) is Affine
            steps.append((layer, IDENTITY if may_take else SIGMOID))
        else:
            return []
    return steps


def runs_of(layers: Iterable[Any]) -> list[list[Any]]:
    """Cut the layers into runs that fuse, and single layers that do not."""
    runs: list[list[Any]] = []
    for layer in layers:
        if runs and fused_steps(runs[-1]) and fused_steps([*runs[-1], layer]):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return runs


def _arrays_of(layer: Any) -> Iterable[Any]:
    params = getattr(layer, "params", ())
    return params if isinstance(params, (list, tuple)) else ()


class Sequential:
    """Layers one after the other.

    Parameters
    ----------
    layers : iterable of layers
        Anything with a method ``forward(x)``. Affine layers and the activations behind them run fused, in
        one compiled call; other layers are called as they are.

    Attributes
    ----------
    layers : list
        The layers. Replace, add or remove some: the next call sees it.
    params : list
        The parameters of all layers, in order, gathered once, as the book's networks do.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Affine, Sequential, Sigmoid
    >>> net = Sequential([Affine(np.eye(2), np.zeros(2)), Sigmoid()])
    >>> net.predict(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """

    def __init__(self, layers: Iterable[Any]) -> None:
        self.layers: Any = list(layers)
        self.params: list[Any] = [p for layer in self.layers for p in getattr(layer, "params", ())]
        self._shortcut: Shortcut | None = None

    def predict(self, x: Any, out: Any = None) -> Any:
        """Feed x through all layers.

        Parameters
        ----------
        x : array_like
            Of shape (..., fan_in), usually (batch, fan_in); a row alone may be one-dimensional.
        out : ndarray, optional
            Where to put the result: of the result's shape and dtype, overlapping no input or weights.

        Returns
        -------
        ndarray
            Of shape (..., fan_out) of the last layer, with the dtype that NumPy's promotion gives.

        Raises
        ------
        ValueError
            If shapes do not fit together; the message names them. If `out` has another shape than the
            result, is read-only or overlaps an input.
        TypeError
            If NumPy cannot multiply these types, or `out` is no array of the result's dtype.
        """
        known = self._shortcut
        if known is not None and out is None:
            # x, the layers and their weights are checked by the compiled call
            result = known.call(x, None, self.layers, known.recipe)
            if result is False:
                result = known.run_large(x)
            if result is not None:
                return result
        return self._predict(x, out)

    def forward(self, x: Any, out: Any = None) -> Any:
        """The same as `predict`, so that a network can be a layer of another.

        Parameters
        ----------
        x : array_like
            Of shape (..., fan_in).
        out : ndarray, optional
            Where to put the result.

        Returns
        -------
        ndarray
            Of shape (..., fan_out).

        Raises
        ------
        ValueError
            As `predict` does.
        TypeError
            As `predict` does.
        """
        return self.predict(x, out)

    def _predict(self, x: Any, out: Any) -> Any:
        """The way for all inputs and all layers."""
        runs = runs_of(self.layers)
        if isinstance(out, np.ndarray) and len(runs) > 1:  # a later run does not know of all inputs
            check_apart(out, [x, *(p for run in runs for layer in run for p in _arrays_of(layer))])
        result = x
        for run in runs:
            target = out if run is runs[-1] else None
            steps = fused_steps(run)
            if steps:
                pairs, activations = [layer.params for layer, _ in steps], [act for _, act in steps]
                result = fused.chain(pairs, activations, result, target)
            elif _is_own(run[0], *ACTIVATIONS):
                result = run[0].forward(result, target)
            else:
                result = run[0].forward(result)
        if out is not None and result is not out:
            check_out(out, np.shape(result), np.asarray(result).dtype, [x, result])[...] = result
            return out
        self._remember(runs, result)
        return result

    def _remember(self, runs: list[list[Any]], result: Any) -> None:
        """Prepare the shortest way for calls like the one just made, if they can take it."""
        self._shortcut = None
        if len(runs) == 1 and type(self.layers) is list:
            steps = fused_steps(runs[0])
            dense, activations = [layer for layer, _ in steps], [activation for _, activation in steps]
            self._shortcut = shortcut(self.layers, dense, activations, result)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_shortcut": None}


class TwoLayerNet(Sequential):
    """Affine, Sigmoid, Affine: the two-layer network of the book, drawn from ``np.random.randn``.

    Parameters
    ----------
    input_size : int
        Width of x.
    hidden_size : int
        Width of the hidden layer.
    output_size : int
        Number of classes.

    Attributes
    ----------
    layers : list
        The three layers.
    params : list
        [W1, b1, W2, b2]: the arrays that the layers hold, of shapes (input_size, hidden_size),
        (hidden_size,), (hidden_size, output_size), (output_size,). The same ``np.random.seed`` draws
        the same network as the reference.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import TwoLayerNet
    >>> net = TwoLayerNet(2, 4, 3)
    >>> net.predict(np.random.randn(10, 2)).shape
    (10, 3)
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        drawn = reference.TwoLayerNet(input_size, hidden_size, output_size)
        (W1, b1), (W2, b2) = drawn.layers[0].params, drawn.layers[2].params
        super().__init__([Affine(W1, b1), Sigmoid(), Affine(W2, b2)])
