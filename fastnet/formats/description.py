"""Models in words and arrays: a description that JSON can hold, and the tensors that belong to it.

``{"class": "Sequential", "layers": [{"class": "Affine"}, {"class": "Sigmoid"}]}`` with the tensors ``0.W``
and ``0.b``: affine layers are numbered through, networks may be layers. A Classifier or a Regressor has a
network; classes that are numbers are the tensor ``classes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from fastnet.estimators import Classifier, Regressor
from fastnet.formats.parts import LAYERS, check_widths, foreign, is_affine, own_name, text_array, weights_of
from fastnet.network import Sequential, TwoLayerNet

Model = Sequential | Classifier | Regressor

_NETWORKS: dict[str, type[Sequential]] = {"Sequential": Sequential, "TwoLayerNet": TwoLayerNet}
#: real numbers of up to 64 bits
DTYPES = {np.dtype(name) for name in ["?", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]}


def describe(model: Model, tensors: dict[str, Any]) -> dict[str, Any]:
    """The description of a model; its arrays go into `tensors`.

    Raises
    ------
    ValueError
        If there is something in the model that a description does not hold.
    """
    if isinstance(model, Sequential):
        return _describe_network(model, tensors)
    name = own_name(model, (Classifier, Regressor))
    if name is None:
        raise foreign(model, "save")
    names = getattr(model, "feature_names_in_", None)
    found: dict[str, Any] = {
        "class": name,
        "network": _describe_network(model.network, tensors),
        "feature_names": None if names is None else [_text(n, "names of features") for n in names],
    }
    if isinstance(model, Classifier):
        found |= {"multilabel": model.multilabel, "classes": None}
        if model.classes_.dtype.kind in "OU":
            kind = "object" if model.classes_.dtype == object else "str"
            names = [_text(c, "classes") for c in model.classes_.tolist()]
            if kind == "str":
                text_array(names)  # or it could not be read again
            found["classes"] = {kind: names}
        else:
            tensors["classes"] = _plain(model.classes_, "classes")
    return found


def _describe_network(network: Sequential, tensors: dict[str, Any]) -> dict[str, Any]:
    name = own_name(network, _NETWORKS.values())
    if name is None:
        raise foreign(network, "save")
    layers = [_describe_layer(layer, tensors) for layer in network.layers]
    check_widths(network.layers)
    return {"class": name, "layers": layers}


def _describe_layer(layer: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    if isinstance(layer, Sequential):
        return _describe_network(layer, tensors)
    name = own_name(layer, LAYERS.values())
    if name is None:
        raise foreign(layer, "save")
    if is_affine(layer):
        at = len(tensors) // 2
        for label, array in zip("Wb", weights_of(layer, f"layer {at}"), strict=True):
            tensors[f"{at}.{label}"] = _plain(array, f"{label} of layer {at}")
    return {"class": name}


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(
            f"{what} are saved if they are strings, or an array of numbers: {value!r} is neither"
        )
    return str(value)


def _plain(array: Any, what: str) -> Any:
    """The array as safetensors takes it: contiguous, in native byte order."""
    dtype = array.dtype.newbyteorder("=")
    if dtype not in DTYPES:
        raise ValueError(f"{what} of dtype {array.dtype}, which is no real number of up to 64 bits")
    return np.array(array, dtype, order="C", subok=False)


def _fields(value: Any, *keys: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise ValueError(f"its description has {str(value)[:80]} where {', '.join(keys)} are due")
    return value


def build(description: Any, tensors: dict[str, Any]) -> Model:
    """The model of a description, made of all of the tensors and nothing else.

    Raises
    ------
    ValueError
        If they are not what `describe` gives.
    """
    kind = description.get("class") if isinstance(description, dict) else None
    classes = tensors.pop("classes", None) if kind == "Classifier" else None
    numbers = count()
    made: Model
    if kind == "Classifier":
        found = _fields(description, "class", "network", "feature_names", "multilabel", "classes")
        if type(found["multilabel"]) is not bool:
            raise ValueError(f"multilabel is {found['multilabel']!r}, neither true nor false")
        labels = _classes(found["classes"], classes)
        network = _network(found["network"], tensors, numbers)
        made = Classifier(network, labels, found["multilabel"], _names(found["feature_names"]))
    elif kind == "Regressor":
        found = _fields(description, "class", "network", "feature_names")
        network = _network(found["network"], tensors, numbers)
        made = Regressor(network, _names(found["feature_names"]))
    else:
        made = _network(description, tensors, numbers)
    if tensors:
        raise ValueError(f"it has tensors that belong to no layer: {', '.join(sorted(tensors))[:200]}")
    return made


def _network(description: Any, tensors: dict[str, Any], numbers: Iterator[int]) -> Sequential:
    found = _fields(description, "class", "layers")
    cls = _NETWORKS.get(found["class"]) if isinstance(found["class"], str) else None
    if cls is None or not isinstance(found["layers"], list):
        raise ValueError(f"its description has {str(description)[:80]} where a network is due")
    layers = [_layer(layer, tensors, numbers) for layer in found["layers"]]
    check_widths(layers)
    network = cls.__new__(cls)  # a TwoLayerNet would draw weights
    Sequential.__init__(network, layers)
    return network


def _layer(description: Any, tensors: dict[str, Any], numbers: Iterator[int]) -> Any:
    if isinstance(description, dict) and "layers" in description:
        return _network(description, tensors, numbers)
    name = _fields(description, "class")["class"]
    cls = LAYERS.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"a layer of class {str(name)[:80]!r} is unknown")
    if "Affine" not in name:
        return cls()
    at = next(numbers)
    missing = [key for key in (f"{at}.W", f"{at}.b") if key not in tensors]
    if missing:
        raise ValueError(f"the tensors {', '.join(missing)} of a layer are missing")
    layer = cls(tensors.pop(f"{at}.W"), tensors.pop(f"{at}.b"))
    weights_of(layer, f"layer {at}")
    return layer


def _classes(described: Any, tensor: Any) -> Any:
    """Strings from the description, or numbers from a tensor."""
    if described is None and tensor is not None:
        return tensor
    if tensor is None and isinstance(described, dict) and len(described) == 1:
        ((kind, values),) = described.items()
        if kind in ("str", "object") and _are_strings(values):
            return text_array(values) if kind == "str" else np.array(values, dtype=object)
    raise ValueError(f"its classes are neither strings nor a tensor of numbers: {str(described)[:80]}")


def _are_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _names(values: Any) -> Any:
    if values is None or _are_strings(values):
        return values
    raise ValueError(f"its names of features are no strings: {str(values)[:80]}")
