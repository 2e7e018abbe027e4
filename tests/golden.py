"""Results whose bits are known: networks drawn from an integer hash, and one SHA-256 for each.

``python -m tests.golden`` prints them as JSON, with what the machine code they come from is made of;
``--write`` puts the hashes into golden.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from itertools import count, pairwise, zip_longest
from pathlib import Path

import numpy as np

import fastnet
from fastnet import fused
from fastnet.kernels import target

FILE = Path(__file__).with_name("golden.json")
DTYPES = ("float32", "float64")
#: sizes of the layers, number of rows: either orientation, tails, chunks, weights in place, streamed, packed
NETWORKS = [
    ((2, 4, 3), 1),
    ((2, 10, 3), 1000),
    ((1, 1), 9),
    ((16, 32, 8), 67),
    ((30, 101, 2), 131),
    ((64, 128, 10), 33),
    ((784, 128, 10), 5),
    ((257, 33, 1), 40),
    ((600, 300, 7), 1),
    ((600, 300, 7), 61),
    ((5, 4, 7, 6, 3, 9), 100),
    ((300, 300, 300, 300), 250),
]
#: sizes, rows and activations: what follows each layer, by the name of its class
ACTIVATED = [
    ((16, 32, 8), 67, ("Tanh", "Softmax")),
    ((30, 101, 2), 131, ("ReLU", "Softmax")),
    ((64, 128, 10), 5, ("Tanh", "Softmax")),
    ((17, 33, 70, 37), 9, ("Softmax", "ReLU", "Softmax")),
    ((17, 33, 70, 37), 100, ("Softmax", "Tanh", "Softmax")),
]


def integers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Hashes of seed and position, 24 bits each (Steele, Lea and Flood's splitmix64)."""
    z = np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(seed << 40)
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).reshape(shape)


def numbers(shape: tuple[int, ...], seed: int, dtype: str, scale: float = 1.0) -> np.ndarray:
    """Between -scale, a power of two, and scale; all exact in float32."""
    return ((integers(shape, seed).astype(np.float64) * 2.0**-23 - 1) * scale).astype(dtype)


def network(
    sizes: tuple[int, ...], batch: int, dtype: str, activations: Sequence[str] = ()
) -> tuple[fastnet.Sequential, np.ndarray]:
    """Layers with an activation after each; sigmoids, and none at the end, unless they are named."""
    kinds = activations or ["Sigmoid"] * (len(sizes) - 2)
    seeds = count(len(sizes) * 1000 + sum(sizes))
    layers: list[object] = []
    for (fan_in, fan_out), kind in zip_longest(pairwise(sizes), kinds):
        scale = 2.0 ** (1 - fan_in.bit_length() // 2)
        W = numbers((fan_in, fan_out), next(seeds), dtype, scale)
        layers.append(fastnet.Affine(W, numbers((fan_out,), next(seeds), dtype)))
        if kind is not None:
            layers.append(getattr(fastnet, kind)())
    x = numbers((batch, sizes[0]), next(seeds), dtype, 4.0)
    x[3::7] *= 64  # far out in the sigmoid's tails
    return fastnet.Sequential(layers), x


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def hashes() -> dict[str, str]:
    found = {}
    for dtype in DTYPES:
        for sizes, batch in NETWORKS:
            net, x = network(sizes, batch, dtype)
            found[f"{'-'.join(map(str, sizes))} x {batch} {dtype}"] = digest(net.predict(x))
        for sizes, batch, activations in ACTIVATED:
            net, x = network(sizes, batch, dtype, activations)
            label = f"{'-'.join(map(str, sizes))} x {batch} {' '.join(activations)} {dtype}"
            found[label] = digest(net.predict(x))
        low = {"float32": -110, "float64": -750}[dtype]
        grid = np.arange(low * 64, 40 * 64).astype(dtype) / 64
        found[f"sigmoid {dtype}"] = digest(fastnet.Sigmoid().forward(grid))
        found[f"tanh {dtype}"] = digest(fastnet.Tanh().forward(grid))
        found[f"softmax {dtype}"] = digest(fastnet.Softmax().forward(grid.reshape(-1, 40)))
    return found


def machine_code() -> dict[str, object]:
    """Which registers and operations the kernels of this process use; nothing of those from a cache."""
    compiled = [kernel for dtype in DTYPES for kernel in fused.kernels(np.dtype(dtype)).kernels]
    code = "".join(kernel._library.get_asm_str() for kernel in compiled if not kernel.cache_hits)
    return {
        "vector bytes": target.VECTOR_BYTES,
        "registers": sorted(set(re.findall(r"%([xyz]mm)\d", code))),
        "fused": len(re.findall(r"\bvfn?m(?:add|sub)\w*p[sd]\b", code)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into {FILE.name}")
    write = parser.parse_args().write
    found = hashes()
    if write:
        FILE.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({"hashes": found, **machine_code()}))


if __name__ == "__main__":
    main()
