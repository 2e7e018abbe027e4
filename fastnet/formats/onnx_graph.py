"""ONNX files: opened, checked, and seen as a path of nodes from the one input to an output."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnet.formats.parts import require

#: the domain of the classic operators has two names
_DEFAULT = ("", "ai.onnx")
#: since this version, operators broadcast as NumPy does
OLDEST_OPSET = 7


def load(source: Any) -> Any:
    """A checked ModelProto, with its weights, from a path or a ModelProto."""
    onnx = require("onnx", "onnx")
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            content = file.read()
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # protobuf's own class
            raise ValueError(f"{os.fspath(source)} is no ONNX model: {error}") from error
        _load_external(onnx, model, os.path.dirname(os.path.realpath(source)))
    elif isinstance(source, onnx.ModelProto):
        model = source
        outside = [t.name for t in _tensors(model) if onnx.external_data_helper.uses_external_data(t)]
        if outside:
            raise ValueError(
                f"the weights {', '.join(outside)} are in a file beside the model: pass its path"
            )
    else:
        raise TypeError(f"from_onnx takes a path or an onnx.ModelProto, not {type(source).__name__}")
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, or what broken fields lead to
        raise ValueError(f"the ONNX model is not valid: {error}") from error
    return model


def _tensors(model: Any) -> list[Any]:
    in_nodes = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    return [*model.graph.initializer, *in_nodes]


def _load_external(onnx: Any, model: Any, folder: str) -> None:
    """Read weights that lie in other files of the model's folder, or below it, and nowhere else."""
    for tensor in _tensors(model):
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        path = os.path.realpath(os.path.join(folder, location))
        if os.path.isabs(location) or os.path.commonpath([path, folder]) != folder:
            raise ValueError(f"the weights {tensor.name} are outside of the model's folder: {location}")
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, folder)
        except Exception as error:
            raise ValueError(f"the weights {tensor.name} cannot be read from {location}: {error}") from error


class Graph:
    """Nodes by what they produce, and constants by name.

    Parameters
    ----------
    model : onnx.ModelProto
        Checked: every name is produced once, before it is used.
    """

    def __init__(self, model: Any) -> None:
        self._onnx = require("onnx", "onnx")
        graph = model.graph
        versions = [o.version for o in model.opset_import if o.domain in _DEFAULT]
        self.opset = max(versions, default=OLDEST_OPSET)
        if self.opset < OLDEST_OPSET:
            raise ValueError(
                f"an ONNX model of operator set {self.opset}; {OLDEST_OPSET} is the oldest known"
            )
        if graph.sparse_initializer:
            raise ValueError("an ONNX model with sparse weights")
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._constants: dict[str, Any] = {}
        self.nodes = list(graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        inputs = [i for i in graph.input if i.name not in self._initializers]
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs)
            raise ValueError(f"an ONNX model with {len(inputs)} inputs ({names}), where one is supported")
        self.input = inputs[0].name
        shape = inputs[0].type.tensor_type.shape
        known = inputs[0].type.tensor_type.HasField("shape")
        #: sizes of the input after the first, None where unknown; None if not even their number is known
        self.features: list[int | None] | None = (
            [d.dim_value if d.HasField("dim_value") else None for d in shape.dim[1:]] if known else None
        )
        self.outputs = [o.name for o in graph.output]

    def attributes(self, node: Any) -> dict[str, Any]:
        return {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}

    def operator(self, node: Any) -> str:
        """Its name, with the domain if that is not the default one."""
        return node.op_type if node.domain in _DEFAULT else f"{node.domain}.{node.op_type}"

    def refusal(self, node: Any, reason: str) -> ValueError:
        name = f" (node {node.name})" if node.name else ""
        return ValueError(f"ONNX operator {self.operator(node)}{name}: {reason}")

    def constant(self, name: str) -> Any:
        """The array of this name, or None if it is none: an initializer, or made of such by a node."""
        if name not in self._constants:
            self._constants[name] = self._evaluate(name)
        return self._constants[name]

    def _evaluate(self, name: str) -> Any:
        if name in self._initializers:
            return self._array(self._initializers[name], name)
        node = self.producers.get(name)
        if node is None:
            return None
        attributes, operator = self.attributes(node), self.operator(node)
        if operator == "Constant":
            (kind, value), *_ = attributes.items()
            if kind == "value":
                return self._array(value, name)
            dtype = {"value_float": np.float32, "value_floats": np.float32}.get(kind)
            return None if kind == "sparse_value" else np.array(value, dtype)
        if operator not in ("Identity", "Transpose", "Cast"):
            return None
        value = self.constant(node.input[0])
        if value is None:
            return None
        if operator == "Transpose":
            return np.transpose(value, attributes.get("perm"))
        if operator == "Cast":
            return value.astype(self.dtype(attributes["to"]))
        return value

    def _array(self, tensor: Any, name: str) -> Any:
        try:
            return self._onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise ValueError(f"the values of {name} do not fit its shape or type: {error}") from error

    def dtype(self, number: int) -> np.dtype[Any]:
        """ONNX's number of an element type as a dtype."""
        try:
            found: np.dtype[Any] = self._onnx.helper.tensor_dtype_to_np_dtype(number)
        except (KeyError, ValueError) as error:
            raise ValueError(f"an ONNX model with elements of the unknown type {number}") from error
        return found

    def path(self, end: str) -> list[tuple[Any, int]]:
        """The nodes from the input to a tensor, each with the place of the one input that is no constant."""
        found: list[tuple[Any, int]] = []
        while end != self.input:
            node = self.producers.get(end)
            if node is None:
                raise ValueError(f"the ONNX model computes {end} from nothing but constants")
            if end != node.output[0]:
                raise self.refusal(node, "its first output is the only one supported")
            varying = [at for at, name in enumerate(node.input) if name and self.constant(name) is None]
            if len(varying) != 1:
                names = ", ".join(node.input[at] for at in varying)
                raise self.refusal(
                    node, f"joins {len(varying)} computed inputs ({names}); a chain of layers is supported"
                )
            found.append((node, varying[0]))
            end = node.input[varying[0]]
        return found[::-1]
