"""Networks: layers in a row, the fusable ones among them run as one compiled call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnet import fused, reference
from fastnet.arguments import aligned_copy, check_apart, check_out
from fastnet.kernels.once import once
from fastnet.layers import ACTIVATIONS, Affine, Sigmoid
from fastnet.losses import Loss, SoftmaxWithLoss
from fastnet.shortcut import Shortcut, shortcut
from fastnet.steps import Steps, fused_steps, is_own


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
    grads : list of ndarray
        Their gradients, the arrays that the layers hold: `backward` writes them in place.
    loss_layer : object
        What `forward` and `backward` end with: a `SoftmaxWithLoss`, unless it is replaced.

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
        self.loss_layer: Any = SoftmaxWithLoss()
        self._shortcut: Shortcut | None = None
        self._steps: Steps | None = None
        self._awaits: str | None = None  # what the next `backward` goes back from

    @once
    def grads(self) -> list[Any]:
        """The gradients of `params`, gathered when they are first asked for."""
        return [g for layer in self.layers for g in getattr(layer, "grads", ())]

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
        if known is not None:
            # x, out, the layers and their weights are checked by the compiled call
            result = known.call(x, out, self.layers, known.recipe)
            if result is False:
                result = known.run_large(x, out)
            if result is not None:
                return result
        return self._predict(x, out)

    def forward(self, x: Any, t: Any = None, out: Any = None) -> Any:
        """The loss for targets t; or without them the same as `predict`, so that a network can be a layer.

        The layers remember what `backward` needs: what they were given or gave, not copies of it.

        Parameters
        ----------
        x : array_like
            Of shape (..., fan_in).
        t : array_like, optional
            Targets, as `loss_layer` takes them.
        out : ndarray, optional
            Where to put the result, if there are no targets.

        Returns
        -------
        float or ndarray
            The loss, or the scores of shape (..., fan_out).

        Raises
        ------
        ValueError
            As `predict` does; if t does not fit the scores, or the loss is NaN; if a layer is there twice.
        TypeError
            As `predict` does; with t, if `out` is given or there is no `loss_layer`.
        """
        self._awaits = None
        if t is None:
            result = self._layers_forward(x)
            if out is not None:
                check_out(out, np.shape(result), np.asarray(result).dtype, [x, result, *self.params])
                out[...] = result
            self._awaits = "dout"
            return result if out is None else out
        if out is not None or self.loss_layer is None:
            raise TypeError("the loss is no array: out is for scores" if out is not None else "no loss_layer")
        loss = self.loss_layer.forward(self._layers_forward(x), t)
        self._awaits = "loss"
        return loss

    def backward(self, dout: Any = 1) -> Any:
        """Gradients of the loss that `forward` gave, of all parameters, into the arrays of `grads`.

        Parameters
        ----------
        dout : float or array_like, optional
            What the gradients are multiplied by; after a `forward` without targets, the gradient of the
            scores, of their shape.

        Returns
        -------
        ndarray
            The gradient with respect to x, of its shape.

        Raises
        ------
        RuntimeError
            If there has been no `forward`, or the last one failed.
        ValueError
            If an array of `grads` is read-only or of another shape than its parameter.
        TypeError
            If a layer has no method ``backward``.
        """
        if self._awaits is None or self._steps is None:
            raise RuntimeError(f"backward of {type(self).__name__} before forward: predict remembers nothing")
        for layer in self._steps.without_backward:
            raise TypeError(f"{type(layer).__name__} has no method backward")
        if self._awaits == "loss":
            loss = self.loss_layer
            return self._steps.backward(loss.backward(dout), type(loss).backward is Loss.backward)
        return self._steps.backward(dout, False)

    def _layers_forward(self, x: Any) -> Any:
        """Through all layers, each remembering what its `backward` needs."""
        steps = self._steps
        if steps is None or steps.layers != self.layers:
            steps = self._steps = Steps(self.layers)
        return steps.forward(x)

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
            elif is_own(run[0], *ACTIVATIONS):
                result = fused.activate(run[0]._activation, result, target)
            elif is_own(run[0], Sequential, TwoLayerNet):
                result = run[0].predict(result)  # which remembers nothing
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
        kept = {name: value for name, value in vars(self).items() if name != "grads"}
        return {**kept, "_shortcut": None, "_steps": None, "_awaits": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"loss_layer": SoftmaxWithLoss(), "_steps": None, "_awaits": None, **state})


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
    grads : list of ndarray
        Their gradients, the arrays that the layers hold.
    loss_layer : SoftmaxWithLoss
        What `forward` and `backward` end with.

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
        W1, b1, W2, b2 = (aligned_copy(array, array.dtype) for array in drawn.params)
        super().__init__([Affine(W1, b1), Sigmoid(), Affine(W2, b2)])
