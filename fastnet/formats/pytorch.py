"""Modules of PyTorch and their state: read through the attributes they have, PyTorch is not imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastnet.formats.parts import ACTIVATIONS, affine, check_widths
from fastnet.layers import ReLU, Sigmoid, Softmax, Tanh
from fastnet.network import Sequential as Network

_FUNCTIONS: dict[str, type[Any]] = {"Sigmoid": Sigmoid, "Tanh": Tanh, "ReLU": ReLU}
_SUPPORTED = "Sequential, Linear, Sigmoid, Tanh, ReLU, Softmax, Identity, Flatten and Dropout"


def from_torch(module: Any) -> Network:
    """A module of PyTorch as a network.

    Parameters
    ----------
    module : torch.nn.Module
        Sequential, nested if need be, of Linear, Sigmoid, Tanh, ReLU, Softmax, Identity, Flatten and
        Dropout; or one of these alone.

    Returns
    -------
    Sequential
        With copies of the weights, float32 or float64 as they are: training on does not change it. Flatten
        is left out: x has the shape (rows, fan_in), for images ``x.reshape(len(x), -1)``.

    Raises
    ------
    TypeError
        If a module is of another class, or of one with a ``forward`` of its own. The message names it.
    ValueError
        If Dropout is in training mode, Softmax or Flatten work along other axes, a module has hooks, or
        weights are of another dtype, or on a device without data.

    Examples
    --------
    >>> import torch
    >>> import fastnet
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    >>> fastnet.from_torch(module).predict(torch.ones(5, 4).numpy()).shape
    (5, 3)
    """
    layers = _layers(module, "module")
    check_widths(layers)
    return Network(layers)


def from_state_dict(state: Mapping[str, Any], activations: str | Sequence[str]) -> Network:
    """A network of linear layers from a state dictionary of PyTorch, or of arrays by the same names.

    Parameters
    ----------
    state : mapping of str to tensor or ndarray
        ``NAME.weight`` of shape (fan_out, fan_in) for each layer, and ``NAME.bias`` of shape (fan_out,) for
        those that have one. Names that differ in numbers only, as those of a Sequential do, are taken in
        the order of their numbers; other names in the order of the mapping.
    activations : str or sequence of str
        What follows each layer: "identity", "sigmoid", "tanh", "relu" or "softmax". A single name is that
        of all hidden layers, with the identity after the last one.

    Returns
    -------
    Sequential
        With copies of the weights, float32 or float64 as they are.

    Raises
    ------
    TypeError
        If the state is no mapping, a key no string, or activations are neither a string nor several.
    ValueError
        If a key belongs to no linear layer, the number of activations is not that of the layers, an
        activation is unknown, or shapes or dtypes do not fit. The message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnet
    >>> state = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3))}
    >>> fastnet.from_state_dict(state, "relu").predict(np.array([[1.0, -2.0], [1.0, 1.0]]))
    array([[0.],
           [6.]])
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"from_state_dict takes a mapping of names to arrays, not {type(state).__name__}")
    names = _linear_names(state)
    if isinstance(activations, str):
        activations = [activations] * (len(names) - 1) + ["identity"]
    elif not isinstance(activations, Sequence):
        raise TypeError(f"activations are a string or a sequence of them, not {type(activations).__name__}")
    if len(activations) != len(names):
        weights = ", ".join(f"{name}weight" for name in names)
        raise ValueError(f"{len(activations)} activations for {len(names)} linear layers: {weights}")
    layers: list[Any] = []
    for name, activation in zip(names, activations, strict=True):
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is none of {', '.join(ACTIVATIONS)}")
        layers.append(_linear(state[f"{name}weight"], state.get(f"{name}bias"), name))
        layer = ACTIVATIONS[activation]
        layers += [] if layer is None else [layer()]
    check_widths(layers)
    return Network(layers)


def _array(tensor: Any, where: str) -> Any:
    """The values of a tensor, in its own memory where that is possible."""
    if isinstance(tensor, np.ndarray):
        return tensor
    try:
        array = tensor.detach().cpu().numpy()
        if not isinstance(array, np.ndarray):
            raise TypeError(f"its numpy() is of class {type(array).__name__}")
        return array
    except Exception as error:  # bfloat16, meta device, quantized, sparse: PyTorch has a class for each
        raise ValueError(
            f"{where}: no array of it, as it is {getattr(tensor, 'dtype', type(tensor).__name__)} on "
            f"{getattr(tensor, 'device', 'no device')}: {error}"
        ) from error


def _linear(weight: Any, bias: Any, where: str) -> Any:
    W = _array(weight, f"{where}weight")
    if W.ndim != 2:
        raise ValueError(f"{where}weight has shape {W.shape}, which is no linear layer's (fan_out, fan_in)")
    return affine(W.T, None if bias is None else _array(bias, f"{where}bias"), f"{where}weight")


def _torch_class(module: Any) -> str | None:
    """The class in torch.nn whose ``forward`` the module has; None if it has another, or no such class."""
    if "forward" in getattr(module, "__dict__", {}):
        return None
    for cls in type(module).__mro__:
        if cls.__module__.startswith("torch.nn.modules."):
            same = getattr(type(module), "forward", None) is getattr(cls, "forward", None)
            return cls.__name__ if same else None
    return None


def _layers(module: Any, where: str) -> list[Any]:
    """The layers of a module, which messages call `where`."""
    name = _torch_class(module)
    for hooks in ("_forward_hooks", "_forward_pre_hooks"):
        if name is not None and getattr(module, hooks, None):
            raise ValueError(f"{where}: {name} has {hooks[1:].replace('_', ' ')}, which would not come along")
    if name == "Sequential":
        children = module._modules.items()
        return [layer for key, child in children for layer in _layers(child, f"{where}.{key}")]
    if name == "Linear":
        return [_linear(module.weight, module.bias, f"{where}.")]
    if name in _FUNCTIONS:
        return [_FUNCTIONS[name]()]
    if name == "Softmax":
        if module.dim not in (-1, 1):
            raise ValueError(f"{where}: Softmax(dim={module.dim}) is not along the features; dim=1 or -1 is")
        return [Softmax()]
    if name == "Flatten":
        if (module.start_dim, module.end_dim) != (1, -1):
            raise ValueError(
                f"{where}: Flatten({module.start_dim}, {module.end_dim}) does not give (rows, features)"
            )
        return []
    if name == "Dropout":
        if module.training and module.p > 0:
            raise ValueError(f"{where}: Dropout in training mode; call eval() on the module first")
        return []
    if name == "Identity":
        return []
    cls = type(module)
    hint = "; from_state_dict takes the weights of linear layers" if hasattr(module, "state_dict") else ""
    raise TypeError(f"{where}: from_torch takes {_SUPPORTED}, not {cls.__module__}.{cls.__name__}{hint}")


def _linear_names(state: Mapping[str, Any]) -> list[str]:
    """The names of the linear layers in a state dictionary, with their dots, in order."""
    names: list[str] = []
    for key in state:
        if not isinstance(key, str):
            raise TypeError(f"a state dictionary with the key {key!r:.80}, which is no string")
        part = key.rpartition(".")[2]
        name = key.removesuffix(part)
        if part not in ("weight", "bias"):
            raise ValueError(f"{key!r} is neither the weight nor the bias of a linear layer")
        if f"{name}weight" not in state:
            raise ValueError(f"{key!r} without {name}weight")
        if name not in names:
            names.append(name)
    if not names:
        raise ValueError("a state dictionary without weights")
    return _by_number(names)


def _by_number(names: list[str]) -> list[str]:
    """Names in the order of their numbers, "10" after "2", if numbers are all that they differ in."""
    parts = {name: re.split(r"(\d+)", name) for name in names}  # texts and numbers in turn
    numbered = sorted(names, key=lambda name: [int(p) if p.isdecimal() else p for p in parts[name]])
    for a, b in pairwise(numbered):
        differ = next((at for at, (p, q) in enumerate(zip(parts[a], parts[b], strict=False)) if p != q), 0)
        if differ % 2 == 0:
            return names
    return numbered
