"""Neural networks in NumPy's terms on compiled kernels: change the import, ``predict`` is faster."""

from fastnet._version import __version__
from fastnet.compiled import cfunc_predict, njit_predict
from fastnet.explain import explain
from fastnet.formats.onnx_read import from_onnx
from fastnet.formats.onnx_write import to_onnx
from fastnet.formats.pytorch import from_state_dict, from_torch
from fastnet.formats.saving import load, save
from fastnet.formats.scikit_learn import from_sklearn
from fastnet.guarantees import guarantees
from fastnet.layers import Affine, AffineSigmoid, ReLU, Sigmoid, Softmax, Tanh
from fastnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss
from fastnet.network import Sequential, TwoLayerNet
from fastnet.optimizers import SGD, Adam, Momentum
from fastnet.threads import get_num_threads, set_num_threads
from fastnet.training import fit
from fastnet.warmup import warmup

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
