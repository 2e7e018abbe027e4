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
#: operators between a constant and its use, and what constants may come to, in bytes and in times the model's
#: size: each use makes a copy, so that a small file could ask for any amount of memory
_LONGEST_ROW, _MOST_BYTES, _MOST_TIMES = 100, 1 << 28, 16


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
                f"the weights {', '.join(map(str, outside))} are in a file beside the model: pass its path"
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
        for location in [entry.value for entry in tensor.external_data if entry.key == "location"] or [""]:
            if not isinstance(location, str):
                raise ValueError(
                    f"the weights {tensor.name} are in a file whose name is no UTF-8: {location!r}"
                )
            path = os.path.realpath(os.path.join(folder, location))
            if os.path.isabs(location) or os.path.commonpath([path, folder]) != folder:
                raise ValueError(f"the weights {tensor.name} are outside of the model's folder: {location}")
        if not os.path.isfile(path):  # a pipe would be waited for
            raise ValueError(f"the weights {tensor.name} cannot be read from {location}: it is no file")
        try:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, folder)
        except Exception as error:
            raise ValueError(f"the weights {tensor.name} cannot be read from {location}: {error}") from error


def _value_of(node: Any) -> str | None:
    """Under which name a Constant has its value; sparse ones count as none."""
    names = (a.name for a in node.attribute)
    return next((name for name in names if name.startswith("value")), None)


def _check_names(graph: Any) -> None:
    """Raise unless all names are strings: protobuf gives those that are no UTF-8 as bytes."""
    names = [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"an ONNX model with a name that is no UTF-8: {name!r:.80}")


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
        _check_names(graph)
        versions = [o.version for o in model.opset_import if o.domain in _DEFAULT]
        self.opset = max(versions, default=OLDEST_OPSET)
        if self.opset < OLDEST_OPSET:
            raise ValueError(
                f"an ONNX model of operator set {self.opset}; {OLDEST_OPSET} is the oldest known"
            )
        if graph.sparse_initializer:
            raise ValueError("an ONNX model with sparse weights")
        self._bytes_left = max(_MOST_BYTES, _MOST_TIMES * model.ByteSize())
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._rows: dict[str, int] = {}
        self.nodes = list(graph.node)
        own = {(f.domain if f.domain not in _DEFAULT else "", f.name) for f in model.functions}
        for node in self.nodes:
            if (node.domain if node.domain not in _DEFAULT else "", node.op_type) in own:
                raise self.refusal(node, "defined by the model itself")
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

    def is_constant(self, name: str) -> bool:
        """Whether it is an initializer, or made of one by a node."""
        return self._row(name) >= 0

    def _row(self, name: str) -> int:
        """How many nodes are between an initializer and this constant; -1 if it is none."""
        found = self._rows.get(name)
        if found is None:
            found = self._rows[name] = self._count(name)
        return found

    def _count(self, name: str) -> int:
        if name in self._initializers:
            return 0
        node = self.producers.get(name)
        if node is None:
            return -1
        operator = self.operator(node)
        if operator == "Constant":
            return 0 if _value_of(node) is not None else -1
        if operator not in ("Identity", "Transpose", "Cast") or name != node.output[0]:
            return -1
        before = self._row(node.input[0])
        if before >= _LONGEST_ROW:
            raise self.refusal(node, "in too long a row of constants")
        return before + 1 if before >= 0 else -1

    def constant(self, name: str) -> Any:
        """The array of this name, or None if it is no constant. It is made anew each time.

        Raises
        ------
        ValueError
            If its values do not fit its shape or type, or what has been asked for comes to too much memory.
        """
        return self._evaluate(name) if self.is_constant(name) else None

    def _evaluate(self, name: str) -> Any:
        tensor = self._initializers.get(name)
        if tensor is not None:
            return self._counted(self._array(tensor, name))
        node = self.producers[name]
        attributes, operator = self.attributes(node), self.operator(node)
        if operator == "Constant":
            kind = str(_value_of(node))
            if kind == "value":
                return self._counted(self._array(attributes[kind], name))
            given: Any = np.float32 if kind in ("value_float", "value_floats") else None
            # an array of strings would be as wide as the widest of them
            return np.array(attributes[kind], object if kind.startswith("value_string") else given)
        value = self._evaluate(node.input[0])
        if operator == "Transpose":
            return np.transpose(value, attributes.get("perm"))
        if operator == "Cast":
            target = self.dtype(attributes["to"])
            if value.dtype.kind == "c" and target.kind != "c":
                raise self.refusal(node, f"of complex numbers to {target}")
            return self._counted(value.astype(target))
        return value

    def _counted(self, array: Any) -> Any:
        self._bytes_left -= array.nbytes
        if self._bytes_left < 0:
            raise ValueError(
                "an ONNX model whose constants, for each use of them, come to far more than its size"
            )
        return array

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
            varying = [at for at, name in enumerate(node.input) if name and not self.is_constant(name)]
            if len(varying) != 1:
                names = ", ".join(node.input[at] for at in varying)
                raise self.refusal(
                    node, f"joins {len(varying)} computed inputs ({names}); a chain of layers is supported"
                )
            found.append((node, varying[0]))
            end = node.input[varying[0]]
        return found[::-1]
