"""Networks as ONNX models: a Gemm for each affine layer, a node for each activation."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnet._version import __version__
from fastnet.arguments import KERNEL_DTYPES
from fastnet.formats.files import atomic_write
from fastnet.formats.parts import LAYERS, check_widths, foreign, is_affine, own_name, require, weights_of
from fastnet.network import Sequential, TwoLayerNet

_OPERATORS = {
    "AffineSigmoid": "Sigmoid",
    "Sigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "ReLU": "Relu",
    "Softmax": "Softmax",
}
#: the first set whose Softmax is over the last axis alone, and the format of its time: old enough for anyone
_OPSET, _IR = 13, 7
#: bytes that a protobuf message may hold
_LIMIT = 2**31 - 1


def to_onnx(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write a network as an ONNX model, for ONNX Runtime and all that read it.

    Parameters
    ----------
    model : Sequential
        Of fastnet's own layers, with weights that are all float32 or all float64.
    path : path
        Where to. The file is complete or not there: a failure leaves an older one as it was.

    Returns
    -------
    None
        The model has one input ``x`` of shape (batch, fan_in) and one output ``y`` of shape
        (batch, fan_out), of the weights' dtype. Operator set 13. Needs the extra ``onnx``.

    Raises
    ------
    ValueError
        If a layer is not fastnet's own, or has a replaced ``forward``; if there are no weights, they are of
        another dtype or of several, do not fit together, or exceed 2 GiB.
    TypeError
        If the model is no network.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastnet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastnet.to_onnx(fastnet.TwoLayerNet(2, 4, 3), os.path.join(folder, "net.onnx"))
    ...     os.listdir(folder)
    ['net.onnx']
    """
    if not isinstance(model, Sequential):
        hint = "; pass its network" if hasattr(model, "network") else ""
        raise TypeError(f"to_onnx takes a Sequential, not {type(model).__name__}{hint}")
    layers = _flat(model)
    dtype, widths = _check(layers)
    onnx = require("onnx", "onnx")
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(dtype)
    nodes, weights, last = [], [], "x"
    for at, (name, layer) in enumerate(layers):
        if is_affine(layer):
            W, b = layer.params
            row = np.broadcast_to(b, (1, W.shape[1]))[0]
            for label, array in ((f"W{at}", W), (f"b{at}", row)):
                weights.append(onnx.numpy_helper.from_array(np.array(array, dtype, order="C"), label))
            nodes.append(helper.make_node("Gemm", [last, f"W{at}", f"b{at}"], [f"affine{at}"]))
            last = f"affine{at}"
        if name in _OPERATORS:
            nodes.append(helper.make_node(_OPERATORS[name], [last], [f"activation{at}"]))
            last = f"activation{at}"
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "fastnet",
        [helper.make_tensor_value_info("x", kind, ["batch", widths[0]])],
        [helper.make_tensor_value_info("y", kind, ["batch", widths[-1]])],
        weights,
    )
    written = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="fastnet",
        producer_version=__version__,
    )
    onnx.checker.check_model(written)
    with atomic_write(path) as file:
        file.write(written.SerializeToString())


def _flat(model: Sequential) -> list[tuple[str, Any]]:
    """Name and layer of everything in a network, and in the networks in it."""
    if own_name(model, (Sequential, TwoLayerNet)) is None:
        raise foreign(model, "to_onnx")
    found: list[tuple[str, Any]] = []
    for layer in model.layers:
        if isinstance(layer, Sequential):
            found += _flat(layer)
            continue
        name = own_name(layer, LAYERS.values())
        if name is None:
            raise foreign(layer, "to_onnx")
        found.append((name, layer))
    return found


def _check(layers: list[tuple[str, Any]]) -> tuple[np.dtype[Any], list[int]]:
    """The dtype of all weights, and the widths of input and layers."""
    arrays = [a for name, layer in layers if is_affine(layer) for a in weights_of(layer, name)]
    if not arrays:
        raise ValueError("a network without weights has no width that an ONNX model could tell")
    dtypes = {a.dtype.newbyteorder("=") for a in arrays}
    if len(dtypes) != 1 or not dtypes <= KERNEL_DTYPES.keys():
        raise ValueError(
            f"weights of dtype {', '.join(sorted(map(str, dtypes)))}, where float32 or float64 is due"
        )
    check_widths(layer for _, layer in layers)
    size = sum(a.nbytes for a in arrays)
    if size > _LIMIT - 2**16:
        raise ValueError(f"weights of {size} bytes, more than the 2 GiB that an ONNX file holds")
    return dtypes.pop(), [arrays[0].shape[0], *(W.shape[1] for W in arrays[::2])]
