"""Neural networks in NumPy's terms on compiled kernels: change the import, ``predict`` is faster."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnet._version import __version__
from fastnet.explain import explain
from fastnet.guarantees import guarantees
from fastnet.layers import Affine, AffineSigmoid, ReLU, Sigmoid, Softmax, Tanh
from fastnet.network import Sequential, TwoLayerNet
from fastnet.threads import get_num_threads, set_num_threads
from fastnet.warmup import warmup

if TYPE_CHECKING:
    from fastnet.compiled import cfunc_predict, njit_predict
    from fastnet.formats.onnx_read import from_onnx
    from fastnet.formats.onnx_write import to_onnx
    from fastnet.formats.pytorch import from_state_dict, from_torch
    from fastnet.formats.saving import load, save
    from fastnet.formats.scikit_learn import from_sklearn
    from fastnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
    from fastnet.optimizers import SGD, Adam, Momentum
    from fastnet.training import fit

__all__ = [
    "SGD",
    "Adam",
    "Affine",
    "AffineSigmoid",
    "MeanSquaredError",
    "Momentum",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SigmoidWithLoss",
    "Softmax",
    "SoftmaxWithLoss",
    "Tanh",
    "TwoLayerNet",
    "__version__",
    "cfunc_predict",
    "explain",
    "fit",
    "from_onnx",
    "from_sklearn",
    "from_state_dict",
    "from_torch",
    "get_num_threads",
    "guarantees",
    "load",
    "njit_predict",
    "save",
    "set_num_threads",
    "to_onnx",
    "warmup",
]

#: what is imported by who first asks for it: all of it would be two fifths of the time of an import
_LATER = {
    "SGD": "optimizers",
    "Adam": "optimizers",
    "MeanSquaredError": "losses",
    "Momentum": "optimizers",
    "SigmoidWithLoss": "losses",
    "SoftmaxWithLoss": "losses",
    "cfunc_predict": "compiled",
    "fit": "training",
    "from_onnx": "formats.onnx_read",
    "from_sklearn": "formats.scikit_learn",
    "from_state_dict": "formats.pytorch",
    "from_torch": "formats.pytorch",
    "load": "formats.saving",
    "njit_predict": "compiled",
    "save": "formats.saving",
    "to_onnx": "formats.onnx_write",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"fastnet.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
