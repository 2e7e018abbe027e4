"""Optimisers: ``update(params, grads)`` changes the parameters in place, each in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnet import backprop, reference


class Optimizer:
    """What the optimisers share: everything is checked before the first parameter changes."""

    #: names of the lists of arrays, parallel to the parameters, that last from one step to the next
    _state: tuple[str, ...] = ()

    def update(self, params: Sequence[Any], grads: Sequence[Any]) -> None:
        """Take a step.

        Parameters
        ----------
        params : sequence of ndarray
            What to change, in place: real or complex arrays.
        grads : sequence of ndarray
            The gradient of each, of its shape.

        Raises
        ------
        ValueError
            If the lists, or a parameter, its gradient and its state, differ in length or shape; if a
            parameter is read-only. Nothing has changed then.
        TypeError
            If a parameter is no array, or not of a floating dtype.
        """
        first: list[str] = []
        try:
            states = self._states(params, first)
            try:
                self._step(params, grads, *states)
            except (AttributeError, TypeError, ValueError):  # refused, and nothing written
                self._one_by_one(params, grads, states)
        except Exception:
            for name in first:  # zeros for other parameters, perhaps, than those of the next call
                setattr(self, name, None)
            raise

    def _one_by_one(self, params: Sequence[Any], grads: Sequence[Any], states: Sequence[Any]) -> None:
        """The way for arrays of several dtypes or layouts, and for what is wrong."""
        if len({len(params), len(grads), *map(len, states)}) > 1:
            lengths = [f", {len(s)} {name}" for name, s in zip(self._state, states, strict=True)]
            raise ValueError(f"there are {len(params)} params, but {len(grads)} grads" + "".join(lengths))
        for i, (p, *arrays) in enumerate(zip(params, grads, *states, strict=True)):
            self._check(i, p, arrays)
        changing = [a for arrays in (params, *states) for a in arrays]
        before = [a.copy() for a in changing]
        try:
            with np.errstate(all="ignore"):
                self._step_by_reference(params, grads, *states)
        except Exception:  # of a rate that is no number, after some parameters
            for a, was in zip(changing, before, strict=True):
                a[...] = was
            raise

    def _states(self, params: Sequence[Any], first: list[str]) -> list[list[Any]]:
        """The lists of state, of zeros before the first step; the names of those go into `first`."""
        found = []
        for name in self._state:
            if getattr(self, name) is None:
                first.append(name)
                setattr(self, name, reference.zeros_like(list(params)))
            found.append(getattr(self, name))
        return found

    def _check(self, i: int, p: Any, arrays: Sequence[Any]) -> None:
        if not isinstance(p, np.ndarray):
            raise TypeError(f"params[{i}] must be an ndarray, to be changed in place, not {type(p).__name__}")
        if p.dtype.kind not in "fcO":
            raise TypeError(f"params[{i}] has dtype {p.dtype}: it cannot take small steps")
        if not p.flags.writeable:
            raise ValueError(f"params[{i}] of shape {p.shape} is read-only")
        for name, array in zip(("grads", *self._state), arrays, strict=True):
            if np.shape(array) != p.shape:
                raise ValueError(
                    f"{name}[{i}] has shape {np.shape(array)}, but params[{i}] has shape {p.shape}"
                )
            kind = np.asarray(array).dtype
            if not np.can_cast(kind, p.dtype, "same_kind"):
                raise TypeError(f"{name}[{i}] has dtype {kind}, but params[{i}] has dtype {p.dtype}")

    #: (params, grads, states...) -> None: compiled, and for all that the kernels do not take
    _step: Callable[..., None]
    _step_by_reference: Callable[..., None]


class SGD(Optimizer):
    """Stochastic gradient descent: every parameter, less lr times its gradient.

    Parameters
    ----------
    lr : float
        The learning rate.

    Attributes
    ----------
    lr : float
        May be changed between steps.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import SGD
    >>> p = np.array([1.0, 2.0])
    >>> SGD(lr=0.5).update([p], [np.array([1.0, -1.0])])
    >>> p
    array([0.5, 2.5])
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def _step(self, params: Any, grads: Any) -> None:
        backprop.sgd_all(params, grads, self.lr)

    def _step_by_reference(self, params: Any, grads: Any) -> None:
        reference.SGD(self.lr).update(params, grads)


class Momentum(Optimizer):
    """Gradient descent with a velocity for each parameter: v = momentum v - lr gradient, added to it.

    Parameters
    ----------
    lr : float
        The learning rate.
    momentum : float
        The share of its velocity that a parameter keeps.

    Attributes
    ----------
    lr, momentum : float
        May be changed between steps.
    v : list of ndarray or None
        The velocities, parallel to the parameters, from the first step on.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Momentum
    >>> p, optimizer = np.array([1.0]), Momentum(lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.update([p], [np.array([1.0])])
    >>> p
    array([-0.25])
    """

    _state = ("v",)

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = lr
        self.momentum = momentum
        self.v: list[Any] | None = None

    def _step(self, params: Any, grads: Any, v: Any) -> None:
        backprop.momentum_all(params, grads, v, self.lr, self.momentum)

    def _step_by_reference(self, params: Any, grads: Any, v: Any) -> None:
        twin = reference.Momentum(self.lr, self.momentum)
        twin.v = v
        twin.update(params, grads)


class Adam(Optimizer):
    """Steps scaled by running means of the gradient, and of its square (Kingma and Ba, 2015).

    As the book has it, with `eps` added to the root of the mean square before the bias of both means is
    corrected in the rate.

    Parameters
    ----------
    lr : float
        The learning rate.
    beta1, beta2 : float
        The shares that the mean of the gradient and that of its square keep.
    eps : float
        Added to the root.

    Attributes
    ----------
    lr, beta1, beta2, eps : float
        May be changed between steps.
    iter : int
        Steps so far.
    m, v : list of ndarray or None
        The means, parallel to the parameters, from the first step on.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Adam
    >>> p = np.array([1.0])
    >>> Adam(lr=0.5).update([p], [np.array([3.0])])
    >>> p.round(6)
    array([0.500001])
    """

    _state = ("m", "v")

    def __init__(
        self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-7
    ) -> None:
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.iter = 0
        self.m: list[Any] | None = None
        self.v: list[Any] | None = None

    def _step(self, params: Any, grads: Any, m: Any, v: Any) -> None:
        number = self.iter + 1
        backprop.adam_all(params, grads, m, v, self.lr, self.beta1, self.beta2, self.eps, number)
        self.iter = number

    def _step_by_reference(self, params: Any, grads: Any, m: Any, v: Any) -> None:
        twin = reference.Adam(self.lr, self.beta1, self.beta2, self.eps)
        twin.iter, twin.m, twin.v = self.iter, m, v
        twin.update(params, grads)
        self.iter = twin.iter


def states_for(optimizer: Any, params: list[Any]) -> tuple[list[Any], list[Any]]:
    """(means, squares) of an optimiser: what it has, checked, and what it has not yet, made.

    In lists of their own: a callback or another thread may empty those of the optimiser.
    """
    held: dict[str, list[Any]] = {}
    for name in optimizer._state:
        arrays = getattr(optimizer, name)
        if arrays is None:
            continue
        held[name] = arrays = list(arrays)
        if len(arrays) != len(params):
            raise ValueError(f"optimizer.{name} has {len(arrays)} arrays for {len(params)} parameters")
        for i, (p, array) in enumerate(zip(params, arrays, strict=True)):
            if not isinstance(array, np.ndarray) or array.shape != p.shape or array.dtype != p.dtype:
                raise ValueError(f"optimizer.{name}[{i}] does not fit a parameter of {p.shape}, {p.dtype}")
            if not array.flags.c_contiguous or not array.flags.writeable:
                raise ValueError(f"optimizer.{name}[{i}] is read-only or not contiguous")
    for name in optimizer._state:
        if name not in held:
            held[name] = reference.zeros_like(params)
            setattr(optimizer, name, list(held[name]))
    return held.get("m", []), held.get("v", [])
