"""What all formats need: layers made from foreign weights, layers by name, extras imported when used."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastnet.arguments import KERNEL_DTYPES, aligned_copy
from fastnet.layers import Affine, AffineSigmoid, ReLU, Sigmoid, Softmax, Tanh
from fastnet.network import Sequential

#: activations by name; "identity" is no layer
ACTIVATIONS: dict[str, type[Any] | None] = {
    "identity": None,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "softmax": Softmax,
}

#: bytes of an array of strings, and outputs of a layer without inputs: a small file could ask for any number
_MOST_TEXT, _MOST_OUTPUTS = 1 << 28, 1 << 20

#: the layers there are, by name
LAYERS: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (Affine, AffineSigmoid, ReLU, Sigmoid, Softmax, Tanh)
}


def require(module: str, extra: str) -> Any:
    """An optional library, or an ImportError that names the extra it comes with."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'this needs {module}: pip install "fastnet[{extra}]"') from error


def affine(W: Any, b: Any, where: str) -> Affine:
    """A layer that owns its weights: copies in C order, which the kernels read fastest.

    Parameters
    ----------
    W : ndarray
        Of shape (fan_in, fan_out), float32 or float64.
    b : ndarray or None
        Of shape (fan_out,) and W's dtype; None stands for zeros.
    where : str
        What messages call the layer.

    Returns
    -------
    Affine
        Nothing that happens to W and b later shows in it.

    Raises
    ------
    ValueError
        If a shape or a dtype is another.
    """
    W = np.asarray(W)
    dtype = KERNEL_DTYPES.get(W.dtype.newbyteorder("="))
    if dtype is None:
        raise ValueError(f"{where}: weights of dtype {W.dtype}, neither float32 nor float64")
    if W.ndim != 2:
        raise ValueError(f"{where}: weights of shape {W.shape} are no matrix")
    if W.shape[0] == 0 and W.shape[1] > _MOST_OUTPUTS:
        raise ValueError(f"{where}: weights of shape {W.shape} have no inputs, but very many outputs")
    b = np.zeros(W.shape[1], dtype) if b is None else np.asarray(b)
    if b.shape != (W.shape[1],):
        raise ValueError(f"{where}: bias of shape {b.shape} beside weights of shape {W.shape}")
    if b.dtype.newbyteorder("=") != dtype:
        raise ValueError(f"{where}: bias of dtype {b.dtype} beside weights of dtype {W.dtype}")
    return Affine(aligned_copy(W, dtype), aligned_copy(b, dtype))


def text_array(strings: list[str]) -> Any:
    """An array of strings, all as wide as the widest.

    Raises
    ------
    ValueError
        If it would take far more memory than the strings do.
    """
    size = 4 * len(strings) * max(map(len, strings), default=0)
    if size > _MOST_TEXT:
        raise ValueError(f"an array of {len(strings)} strings, all as wide as the widest, has {size} bytes")
    return np.array(strings, dtype=np.str_)


def is_affine(layer: Any) -> bool:
    return type(layer) in (Affine, AffineSigmoid)


def own_name(value: Any, classes: Iterable[type[Any]]) -> str | None:
    """The name of the value's class if it is one of these, with its methods as they are."""
    replaced = {"forward", "predict"} & set(vars(value)) if hasattr(value, "__dict__") else ()
    return type(value).__name__ if type(value) in classes and not replaced else None


def foreign(value: Any, what: str) -> ValueError:
    """The refusal of a layer that no file format knows."""
    cls = type(value)
    return ValueError(
        f"{what} takes fastnet's own layers as they are, not {cls.__module__}.{cls.__qualname__} "
        "(or one whose forward has been replaced)"
    )


def weights_of(layer: Any, where: str) -> tuple[Any, Any]:
    """W and b of an affine layer as arrays, W of shape (fan_in, fan_out), b fit to be one row beside it.

    Raises
    ------
    ValueError
        If they are something else.
    """
    params = layer.params
    if not isinstance(params, (list, tuple)) or len(params) != 2:
        raise ValueError(f"{where}: params are no [W, b]")
    W, b = params
    for name, value in (("W", W), ("b", b)):
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{where}: {name} is of class {type(value).__name__}, no array")
    if W.ndim != 2 or b.shape not in ((), (1,), W.shape[1:], (1, 1), (1, W.shape[1])):
        raise ValueError(f"{where}: W of shape {W.shape} and b of shape {b.shape} are no affine layer's")
    return W, b


def leaves(layers: Iterable[Any]) -> Iterator[Any]:
    """The layers, and those of the networks among them."""
    for layer in layers:
        if isinstance(layer, Sequential):
            yield from leaves(layer.layers)
        else:
            yield layer


def check_widths(layers: Iterable[Any]) -> None:
    """Raise ValueError unless each affine layer takes what the one before it gives."""
    width = None
    for layer in filter(is_affine, leaves(layers)):
        fan_in, fan_out = layer.params[0].shape
        if width not in (None, fan_in):
            raise ValueError(f"a layer of fan_in {fan_in} follows one of fan_out {width}")
        width = fan_out
