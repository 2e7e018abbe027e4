"""A small trained network and the handwritten digits it never saw in training: ``load()``."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnet.layers import Affine, Sigmoid
from fastnet.network import Sequential

__all__ = ["Digits", "load"]


class Digits(NamedTuple):
    """The network, and the held-out images with their true classes."""

    network: Sequential
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def load(dtype: DTypeLike = np.float64) -> Digits:
    """Read the digits network that ships with fastnet.

    Parameters
    ----------
    dtype : dtype, optional
        Of the weights: float64 or float32, which hold the same values exactly.

    Returns
    -------
    Digits
        ``network``, 64-32-10 with a sigmoid, takes rows of 64 pixel values from 0 to 16;
        ``images``, uint8 (400, 64), an 8 x 8 image a row; ``labels``, uint8 (400,).
        All of it is the caller's own, read anew at every call.

    Examples
    --------
    >>> from fastnet.digits import load
    >>> network, images, labels = load()
    >>> network.predict(images[:3]).argmax(axis=1).tolist()
    [4, 3, 7]
    >>> labels[:3].tolist()
    [4, 3, 7]
    """
    source = resources.files(__name__).joinpath("digits.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
        W1, b1, W2, b2 = (data[name].astype(dtype) for name in ("W1", "b1", "W2", "b2"))
        return Digits(Sequential([Affine(W1, b1), Sigmoid(), Affine(W2, b2)]), data["images"], data["labels"])
