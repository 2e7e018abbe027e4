"""Which layers fuse; forward and backward in training, an affine layer with its activation as a step."""

from __future__ import annotations

from typing import Any

from fastnet import fused, gradients
from fastnet.kernels.table import IDENTITY, SIGMOID
from fastnet.layers import ACTIVATIONS, Affine, AffineSigmoid
from fastnet.shortcut import Shortcut, shortcut


def is_own(layer: Any, *classes: type) -> bool:
    """Whether this is one of our layers with our own methods, not a subclass's or a user's."""
    return type(layer) in classes and not {"forward", "backward"} & vars(layer).keys()


def fused_steps(layers: list[Any]) -> list[tuple[Any, int]]:
    """Fusable layers as (affine layer, its activation): an Affine takes the activation behind it along."""
    steps: list[tuple[Any, int]] = []
    may_take = False
    for layer in layers:
        if may_take and is_own(layer, *ACTIVATIONS):
            steps[-1] = (steps[-1][0], layer._activation)
            may_take = False
        elif is_own(layer, Affine, AffineSigmoid):
            may_take = type(layer) is Affine
            steps.append((layer, IDENTITY if may_take else SIGMOID))
        else:
            return []
    return steps


class Step:
    """An affine layer with the activation behind it, in one compiled call; both remember their part.

    Parameters
    ----------
    layers : list
        The affine layer, and the activation if there is one.
    affine : Affine
        The first of them.
    activation : int
        What the compiled call applies.
    """

    __slots__ = ("_activation", "_affine", "_layers", "_shortcut")

    def __init__(self, layers: list[Any], affine: Affine, activation: int) -> None:
        self._layers = layers
        self._affine = affine
        self._activation = activation
        self._shortcut: Shortcut | None = None

    def forward(self, x: Any) -> Any:
        known, y = self._shortcut, None
        if known is not None:
            y = known.call(x, None, known.dense, known.recipe)
            if y is False:
                y = known.run_large(x)
        if y is None:
            if len(fused_steps(self._layers)) != 1:  # `forward` of one of them has been replaced
                for layer in self._layers:
                    x = layer.forward(x)
                return x
            y = fused.chain([self._affine.params], [self._activation], x)
            self._shortcut = shortcut([self._affine], [self._affine], [self._activation], y)
        first, last = self._layers[0], self._layers[-1]
        if first is not last:
            first._memory[0], last._memory[0] = x, y
        else:
            first._memory[0] = (x, y) if self._activation else x
        return y

    def backward(self, dout: Any, may_overwrite: bool) -> Any:
        """As the layers do it, if their methods are ours; `dout` may be overwritten if nobody else has it."""
        if self._shortcut is None or not self._shortcut.seen:
            for layer in reversed(self._layers):
                dout = layer.backward(dout)
            return dout
        affine, last = self._affine, self._layers[-1]
        x = affine._memory[0]
        if affine is not last:
            dout = gradients.activation(
                self._activation, last._memory[0], dout, dout if may_overwrite else None
            )
        elif self._activation:
            x, y = x
            dout = gradients.activation(self._activation, y, dout, dout if may_overwrite else None)
        return gradients.affine(affine.params, affine.grads, x, dout)


class Steps:
    """All layers of a network: those that fuse as steps, others as they are.

    Raises
    ------
    ValueError
        If a layer is there twice: it remembers one call only.
    """

    def __init__(self, layers: list[Any]) -> None:
        self.layers = list(layers)
        twice = [
            layer for i, layer in enumerate(self.layers) if any(layer is other for other in self.layers[:i])
        ]
        if twice:
            raise ValueError(
                f"the same {type(twice[0]).__name__} is in layers twice, but remembers one call only"
            )
        self.without_backward = [layer for layer in self.layers if not hasattr(layer, "backward")]
        self._steps: list[Any] = []
        parts: list[list[Any]] = []
        for layer in self.layers:
            if parts and len(fused_steps([*parts[-1], layer])) == 1:
                parts[-1].append(layer)
            else:
                parts.append([layer])
        for part in parts:
            found = fused_steps(part)
            self._steps.append(Step(part, *found[0]) if found else part[0])

    def forward(self, x: Any) -> Any:
        for step in self._steps:
            x = step.forward(x)
        return x

    def backward(self, dout: Any, may_overwrite: bool) -> Any:
        for step in reversed(self._steps):
            if type(step) is Step:
                dout = step.backward(dout, may_overwrite)
                may_overwrite = True
            else:
                dout = step.backward(dout)
                may_overwrite = False
        return dout
