"""A model, its data and an optimiser, as the table that compiled epochs run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnet import backprop, losses, optimizers
from fastnet.arguments import KERNEL_DTYPES, overlaps_itself
from fastnet.kernels.table import ACTIVATION, BIAS, FAN_IN, FAN_OUT, IDENTITY, W
from fastnet.layers import ACTIVATIONS, Affine, AffineSigmoid
from fastnet.network import Sequential, TwoLayerNet
from fastnet.shared_steps import SharedSteps
from fastnet.steps import is_own
from fastnet.threads import get_num_threads

Array = np.ndarray[Any, Any]

#: multiply-adds of a step, times the bytes of an element, that are shared out: some 200 microseconds; and as
#: many more for each byte of the parameters and of what layers hand on, which come slowly to a thread from
#: the one that has written them
_PAYS, _PAYS_PARAMS, _PAYS_HANDED_ON = 1 << 26, 128, 90
#: multiply-adds, or what takes as long, of one call: after some 50 milliseconds an interrupt is noticed
_CALL = 1 << 30
#: what a layer and an activation of an element cost beside multiply-adds
_LAYER, _ELEMENT = 20_000, 100


_OPTIMIZERS = {
    optimizers.SGD: backprop.SGD,
    optimizers.Momentum: backprop.MOMENTUM,
    optimizers.Adam: backprop.ADAM,
}


class Trained(NamedTuple):
    """An affine layer with its activation, or an activation alone."""

    params: list[Array]  # W, b; none if it is alone
    activation: int
    fan_in: int
    fan_out: int
    ends_with: str  # class of the last layer in it


def trained_layers(model: Any) -> tuple[list[Trained], np.dtype[Any]]:
    """The layers of a network that `fit` can train, and the dtype of their parameters.

    Parameters
    ----------
    model : Sequential
        The network.

    Returns
    -------
    list of Trained, dtype
        The very arrays that the layers hold.

    Raises
    ------
    TypeError
        If it has layers or parameters that `fit` does not take.
    ValueError
        If shapes do not fit together, or parameters cannot be changed in place.
    """
    if type(model) not in (Sequential, TwoLayerNet):
        raise TypeError(f"fit trains a Sequential or a TwoLayerNet, not {type(model).__name__}")
    found: list[Trained] = []
    arrays: list[tuple[str, Array]] = []
    for i, layer in enumerate(_flat(model)):
        kind = type(layer).__name__
        if is_own(layer, *ACTIVATIONS):
            if not found:
                raise ValueError(f"layer {i} is a {kind}: fit trains networks that start with an Affine")
            last = found[-1]
            if last.activation == IDENTITY:
                found[-1] = last._replace(activation=layer._activation, ends_with=kind)
            else:
                found.append(Trained([], layer._activation, last.fan_out, last.fan_out, kind))
        elif is_own(layer, Affine, AffineSigmoid):
            if len(layer.params) != 2:
                raise ValueError(f"params of layer {i} must be [W, b], not {len(layer.params)} arrays")
            weights, biases = (
                _parameter(f"{n} of layer {i}", p) for n, p in zip("Wb", layer.params, strict=True)
            )
            if weights.ndim != 2 or (found and len(weights) != found[-1].fan_out):
                before = f", after a layer of {found[-1].fan_out} outputs" if found else ""
                raise ValueError(f"W of layer {i} has shape {weights.shape}{before}")
            if biases.shape not in ((weights.shape[1],), (1, weights.shape[1])):
                raise ValueError(f"b of layer {i} has shape {biases.shape}, but W has shape {weights.shape}")
            if 0 in weights.shape:
                raise ValueError(f"W of layer {i} has shape {weights.shape}: there is nothing to train")
            ends = "Sigmoid" if type(layer) is AffineSigmoid else kind
            found.append(
                Trained([weights, biases], layer._activation, weights.shape[0], weights.shape[1], ends)
            )
            arrays += [(f"W of layer {i}", weights), (f"b of layer {i}", biases)]
        else:
            raise TypeError(f"layer {i} is {kind}, which fit cannot train: it has to be a layer of fastnet")
    if not arrays:
        raise ValueError("the network has no layers")
    dtype = KERNEL_DTYPES[arrays[0][1].dtype]
    for i, (name, array) in enumerate(arrays):
        if array.dtype != dtype:
            raise TypeError(f"{name} has dtype {array.dtype}, but {arrays[0][0]} has {dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has NaN or infinite elements")
        for other, earlier in arrays[:i]:
            if np.may_share_memory(earlier, array) and np.shares_memory(earlier, array):
                raise ValueError(f"{name} and {other} share memory")
    return found, dtype


def _flat(model: Any) -> Iterator[Any]:
    """The layers, those of networks among them in their place."""
    for layer in model.layers:
        if type(layer) in (Sequential, TwoLayerNet):
            yield from _flat(layer)
        else:
            yield layer


def _parameter(name: str, p: Any) -> Array:
    if not isinstance(p, np.ndarray):
        raise TypeError(f"{name} must be an ndarray, to be changed in place, not {type(p).__name__}")
    if p.dtype not in KERNEL_DTYPES:
        raise TypeError(f"{name} must be of float32 or float64, not {p.dtype}")
    if not p.flags.writeable:
        raise ValueError(f"{name} of shape {p.shape} is read-only")
    if overlaps_itself(p):
        raise ValueError(f"elements of {name} overlap: shape {p.shape}, strides {p.strides}")
    return p


def loss_kind(loss_layer: Any, t: Array) -> int:
    """The number of a loss in the kernels, for targets in the form that it has."""
    if type(loss_layer) is losses.SoftmaxWithLoss:
        return backprop.SOFTMAX_CLASSES if t.ndim == 1 else backprop.SOFTMAX_DENSE
    return backprop.SIGMOID_DENSE if type(loss_layer) is losses.SigmoidWithLoss else backprop.SQUARED


class Epochs:
    """What compiled epochs need.

    Parameters
    ----------
    layers : sequence of Trained
        What `trained_layers` gave.
    x, t : ndarray
        Rows and targets, contiguous, x of the parameters' dtype, t as the loss has it.
    batch : int
        Rows of a batch.
    optimizer : SGD, Momentum or Adam
        Its state is made here if there is none yet.
    loss_layer : loss
        One of ``losses.py``.
    """

    def __init__(
        self, layers: Sequence[Trained], x: Array, t: Array, batch: int, optimizer: Any, loss_layer: Any
    ) -> None:
        self._layers, self._x, self._t, self._optimizer = layers, x, t, optimizer
        self._batch = min(batch, len(x))
        self.batches = -(-len(x) // self._batch)
        self._params = [p for layer in layers for p in layer.params]
        self._means, self._squares = optimizers.states_for(optimizer, self._params)
        self._work = [_contiguous(p) for p in self._params]
        self._copied = [(p, work) for p, work in zip(self._params, self._work, strict=True) if work is not p]
        entries = backprop.entries(x.dtype)
        self._run = entries.run_epoch
        self._order = np.empty(len(x), np.int64)
        self._order_address = _address(self._order)
        self._numbers = np.zeros((self.batches if type(optimizer) is optimizers.Adam else 1, 4), x.dtype)
        self._table = self._new_table(entries.table, loss_layer)
        self._first_step = getattr(optimizer, "iter", 0)
        work = sum(self._batch * (3 * n.fan_in * n.fan_out + _ELEMENT * n.fan_out) + _LAYER for n in layers)
        self._shared: SharedSteps | None = None
        handed_on = self._batch * (layers[0].fan_in + sum(n.fan_out for n in layers)) * x.itemsize
        moving = _PAYS_PARAMS * sum(p.nbytes for p in self._params) + _PAYS_HANDED_ON * handed_on
        if work * x.itemsize > _PAYS + moving and get_num_threads() > 1:
            self._shared = SharedSteps(entries, self._table, layers, self._batch, x)
        self._together = max(_CALL // work, 1)

    def _new_table(self, base: Array, loss_layer: Any) -> Array:
        from fastnet.kernels import batch as epoch

        table = np.zeros((epoch.E_LAYERS + len(self._layers) * epoch.E_LAYER_BYTES) // 8, np.int64)
        table[: len(base)] = base
        fields = {
            epoch.E_X: _address(self._x), epoch.E_T: _address(self._t),
            epoch.E_ROWS: len(self._x), epoch.E_BATCH: self._batch, epoch.E_DEPTH: len(self._layers),
            epoch.E_NUMBERS: _address(self._numbers),
            epoch.E_NUMBERS_STEP: self._numbers.strides[0] if len(self._numbers) > 1 else 0,
            epoch.E_LOSS: loss_kind(loss_layer, self._t),
            epoch.E_OPTIMIZER: _OPTIMIZERS[type(self._optimizer)],
        }  # fmt: skip
        work, means, squares = (iter(arrays) for arrays in (self._work, self._means, self._squares))
        for i, layer in enumerate(self._layers):
            at = epoch.E_LAYERS + i * epoch.E_LAYER_BYTES
            fields[at + FAN_IN], fields[at + FAN_OUT] = layer.fan_in, layer.fan_out
            fields[at + ACTIVATION] = layer.activation
            if layer.params:
                for w, b, arrays in (
                    (W, BIAS, work),
                    (epoch.L_MW, epoch.L_MB, means),
                    (epoch.L_VW, epoch.L_VB, squares),
                ):
                    fields[at + w], fields[at + b] = (_address(next(arrays, None)) for _ in range(2))
        for where, value in fields.items():
            table[where // 8] = value
        floats = table.view(np.float64)
        self._steps = table[epoch.E_STEPS // 8 :]
        self._losses, self._order_field = floats[epoch.E_TOTAL // 8 :], table[epoch.E_ORDER // 8 :]
        return table

    def _settle(self) -> None:
        """Bring parameters and optimiser up to date."""
        for p, work in self._copied:
            p[...] = work.reshape(p.shape)
        if type(self._optimizer) is optimizers.Adam:
            self._optimizer.iter = self._first_step + int(self._steps[0])

    def epoch(self, order: Array | None, advance: Callable[[int], object]) -> float:
        """One epoch, in an order of rows or that of the rows themselves; the mean loss.

        Raises
        ------
        FloatingPointError
            If the loss of a batch is not finite.
        """
        if order is None:
            self._order_field[0] = 0
        else:
            self._order[...] = order
            self._order_field[0] = self._order_address
        self._set_numbers()
        self._losses[0] = 0.0
        try:
            try:
                self._all_batches(advance)
            finally:
                self._settle()
        finally:
            self._settle()  # an interrupt may have kept the other from its end
        return float(self._losses[0]) / len(self._x)

    def _all_batches(self, advance: Callable[[int], object]) -> None:
        done = 0
        while done < self.batches:
            end = min(done + self._together, self.batches)
            if self._shared is not None:
                end = done + 1
                reached = self._shared.run(done)
            else:
                reached = self._run(self._table, done, end)
            if reached < 0:
                raise MemoryError("no memory for the gradients and outputs of a batch")
            advance(reached - done)
            if reached < end:
                raise FloatingPointError(
                    f"the loss is {self._losses[1]} in batch {reached} of the epoch, counted from 0; the "
                    "parameters are as the batch before left them. A smaller learning rate may help"
                )
            done = reached

    def _set_numbers(self) -> None:
        """What the steps of an epoch multiply with: a row for each, or one for all."""
        optimizer = self._optimizer
        if type(optimizer) is optimizers.SGD:
            self._numbers[0, 0] = optimizer.lr
        elif type(optimizer) is optimizers.Momentum:
            self._numbers[0, :2] = optimizer.lr, optimizer.momentum
        else:
            rates = (optimizer.lr, optimizer.beta1, optimizer.beta2, optimizer.eps)
            first = optimizer.iter + 1
            for i in range(self.batches):
                self._numbers[i] = backprop.adam_numbers(*rates, first + i)


def _address(array: Array | None) -> int:
    return 0 if array is None else int(array.__array_interface__["data"][0])


def _contiguous(p: Array) -> Array:
    """The parameter itself, or a copy that is contiguous."""
    return p if p.flags.c_contiguous else np.ascontiguousarray(p)
