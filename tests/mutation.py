"""Mutants of model files, and a program that reads them: ``python -m tests.mutation FORMAT COUNT SEED``.

Case i of a seed is always the same file. The program holds its own memory and the time of each case by limits
of the system, so that what goes wrong ends it by a signal; the number of the case at hand is in a file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import fastnet
from fastnet.estimators import Classifier, Regressor
from tests.models import ARCHITECTURES, BY_LABEL

#: address space beyond what the program has before the first case, and processor time of a case
MEMORY, SECONDS = 512 << 20, 5.0

#: numbers that fields of length, offset, dimension and type are set to
HOSTILE = [0, 1, 2, 3, 7, 8, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 53) + 1]
HOSTILE += [
    (1 << 62),
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 64,
    10**40,
    10**5000 % 10**4999,
    -1,
    -(1 << 63),
]
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_WORDS = [b'"Affine"', b'"AffineSigmoid"', b'"Sequential"', b'"TwoLayerNet"', b'"Classifier"', b'"Regressor"']
_WORDS += [b'"F64"', b'"F16"', b'"BF16"', b'"F8_E5M2"', b'"I64"', b'"BOOL"', b'"0.W"', b'"1.b"', b'"classes"']
_WORDS += [b'"class"', b'"layers"', b'"shape"', b'"__metadata__"', b'"fastnet"', b'""', b'"\\ud800"']
_VALUES = [
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"[]",
    b"{}",
    b"[[]]",
    b'"x"',
    b"0.5",
    b"[0,0]",
]


def _damaged(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """Bits flipped, bytes set, a piece cut out, doubled or from another file, the end lost or longer."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed)) if changed else 0
        way = rng.randrange(8)
        if way == 0 and changed:
            changed[at] ^= 1 << rng.randrange(8)
        elif way == 1 and changed:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif way == 2:
            del changed[at : at + rng.choice((1, 2, 4, 8, 64))]
        elif way == 3:
            size = rng.choice((1, 4, 8, 32))
            changed[at:at] = changed[at : at + size] * rng.choice((1, 2, 50))
        elif way == 4:
            start = rng.randrange(len(other))
            piece = other[start : start + rng.choice((1, 4, 16, 200))]
            changed[at : at + rng.choice((0, len(piece)))] = piece
        elif way == 5:
            number = rng.choice(HOSTILE) & ((1 << 64) - 1)
            size = rng.choice((1, 2, 4, 8))
            changed[at : at + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        elif way == 6:
            del changed[at:]
        else:
            changed += rng.randbytes(rng.choice((1, 8, 100)))
    return bytes(changed)


def _nested(rng: random.Random) -> bytes:
    """JSON that is deep: arrays, objects, networks in networks."""
    depth = rng.choice((10, 120, 130, 500, 3000, 20_000))
    opening, closing = rng.choice(
        [(b"[", b"]"), (b'{"class":', b"}"), (b'{"class":"Sequential","layers":[', b"]}")]
    )
    return opening * depth + rng.choice((b"", b"0", b"[]")) + closing * rng.choice((depth, depth, 0))


def _reworded(rng: random.Random, text: bytes) -> bytes:
    """JSON with a number, a string or any other piece replaced, or a key twice."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        pattern = rng.choice((_NUMBER, _STRING))
        found = list(pattern.finditer(text))
        if not found:
            return text
        place = rng.choice(found)
        number = str(rng.choice(HOSTILE)).encode()
        new = rng.choice((number, number, rng.choice(_WORDS), rng.choice(_VALUES), rng.choice(found).group()))
        if rng.random() < 0.003:
            new = _nested(rng)
        start, stop = place.span()
        if rng.random() < 0.1:  # what is between two places, once more
            start, stop = sorted((place.start(), rng.choice(found).start()))
            new = text[start:stop] * 2
        text = text[:start] + new + text[stop:]
    return text


def safetensors_seeds(folder: Path) -> list[bytes]:
    """Files with everything in them that `save` writes."""
    nested = fastnet.Sequential([fastnet.TwoLayerNet(2, 3, 2), fastnet.Sequential([fastnet.Tanh()])])
    models = [
        *(a.build(dtype) for a in ARCHITECTURES for dtype in ("float32", "float64") if a.label != "wide"),
        nested,
        fastnet.Sequential([fastnet.AffineSigmoid(np.ones((2, 3), "f2"), np.ones(()))]),
        fastnet.Sequential(
            [fastnet.Affine(np.ones((0, 3)), np.ones((1, 3))), fastnet.Affine(np.ones((3, 0)), [])]
        ),
        Classifier(BY_LABEL["relu-softmax"].build("float32"), ["a", "b", "c"], False, list("wxyz")),
        Classifier(BY_LABEL["one output"].build("float64"), np.array([3, 5])),
        Classifier(BY_LABEL["sigmoid"].build("float32"), np.array(["u", "v", "w"], object), True),
        Regressor(BY_LABEL["one output"].build("float32"), ["a", "b", "c"]),
    ]
    models[len(models) - 5].layers[1].params[1] = np.zeros(0)
    seeds = []
    for model in models:
        fastnet.save(model, folder / "seed")
        seeds.append((folder / "seed").read_bytes())
    return seeds


def safetensors_mutant(rng: random.Random, seeds: list[bytes]) -> bytes:
    content = rng.choice(seeds)
    way = rng.randrange(10)
    if way < 3:
        return _damaged(rng, content, rng.choice(seeds))
    size = int.from_bytes(content[:8], "little")
    text, buffer = content[8 : 8 + size], content[8 + size :]
    if way < 6:
        text = _reworded(rng, text)
    elif way < 9:  # the description within the metadata
        header = json.loads(text)
        described = _reworded(rng, header["__metadata__"]["fastnet"].encode())
        header["__metadata__"]["fastnet"] = described.decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:  # another length than that of the header
        lie = rng.choice([rng.choice(HOSTILE), size + rng.randrange(-9, 10), len(content), len(content) - 8])
        return struct.pack("<Q", lie & ((1 << 64) - 1)) + text + buffer
    if rng.random() < 0.1:
        buffer = _damaged(rng, buffer or b"\0", content)
    return struct.pack("<Q", len(text)) + text + buffer


def onnx_seeds(folder: Path) -> list[bytes]:
    """Models of all operators, classifiers' ends, constants in nodes, weights in other forms."""
    from tests import onnx_models

    seeds = []
    for architecture in ARCHITECTURES:
        if architecture.label != "wide":
            fastnet.to_onnx(architecture.build("float32"), folder / "seed")
            seeds.append((folder / "seed").read_bytes())
    return seeds + [model.SerializeToString() for model in onnx_models.models()]


def _fields(content: bytes, start: int, stop: int, depth: int = 0) -> Iterator[tuple[int, int, int]]:
    """Where fields of a protobuf message are: (start of the tag, start of the value, end of the value)."""
    at = start
    while at < stop:
        tag, begin = _varint(content, at, stop)
        kind = tag & 7
        if kind == 0:
            _, end = _varint(content, begin, stop)
        elif kind in (1, 5):
            end = begin + (8 if kind == 1 else 4)
        elif kind == 2:
            size, inner = _varint(content, begin, stop)
            end = inner + size
            if end <= stop and depth < 6:
                with suppress(ValueError):  # it may be a string or numbers
                    yield from list(_fields(content, inner, end, depth + 1))
        else:
            raise ValueError(kind)
        if end > stop:
            raise ValueError(end)
        yield at, begin, end
        at = end


def _varint(content: bytes, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 64:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError(at)


def _as_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


_places: dict[bytes, list[tuple[int, int, int]]] = {}


def onnx_mutant(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Bytes damaged; or a field's number changed, its contents damaged, doubled, left out or exchanged.

    Lengths around it are made right again half of the time, so that what is inside is read at all.
    """
    content, other = rng.choice(seeds), rng.choice(seeds)
    if rng.random() < 0.25:
        return _damaged(rng, content, other)
    for _ in range(rng.choice((1, 1, 2, 4))):
        try:
            places = _places.get(content) or list(_fields(content, 0, len(content)))
        except ValueError:
            return content
        if content in seeds:
            _places[content] = places
        if not places:
            return content
        tag, begin, end = rng.choice(places)
        kind = content[tag] & 7
        field = content[tag:end]
        way = rng.randrange(8)
        if way < 3 and kind == 0:
            new = content[tag:begin] + _as_varint(rng.choice(HOSTILE))
        elif way < 4 and kind == 2:
            _, inner = _varint(content, begin, end)
            damaged = _damaged(rng, content[inner:end] or b"\0", other)
            new = content[tag:begin] + _as_varint(len(damaged)) + damaged
        elif way == 4:
            new = b""
        elif way == 5:
            new = field * rng.choice((2, 2, 3, 100))
        else:
            donor = rng.choice((content, content, other))
            try:
                a, _, c = rng.choice(_places.get(donor) or list(_fields(donor, 0, len(donor))))
            except (ValueError, IndexError):
                return content
            new = donor[a:c]
        content = (
            _replaced(content, tag, end, new, places)
            if rng.random() < 0.9
            else content[:tag] + new + content[end:]
        )
    return content


def _replaced(content: bytes, start: int, stop: int, new: bytes, places: list[tuple[int, int, int]]) -> bytes:
    """A field replaced, and the lengths of all messages around it adapted."""
    around = [p for p in places if p[1] <= start and stop <= p[2] and p[0] < start and content[p[0]] & 7 == 2]
    for _, begin, end in sorted(around, key=lambda p: p[2] - p[0]):
        size, inner = _varint(content, begin, end)
        if inner > start:
            continue
        new = _as_varint(size + len(new) - (stop - start)) + content[inner:start] + new + content[stop:end]
        start, stop = begin, end
    return content[:start] + new + content[stop:]


def read_safetensors(path: Path) -> Any:
    return fastnet.load(path)


def read_onnx(path: Path) -> Any:
    return fastnet.from_onnx(path)


FORMATS: dict[str, tuple[Callable[[Path], list[bytes]], Callable[..., bytes], Callable[[Path], Any]]] = {
    "safetensors": (safetensors_seeds, safetensors_mutant, read_safetensors),
    "onnx": (onnx_seeds, onnx_mutant, read_onnx),
}


def mutant(name: str, seeds: list[bytes], seed: int, case: int) -> bytes:
    return FORMATS[name][1](random.Random(f"{seed} {case}"), seeds)


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def checked(model: Any) -> None:
    """Raise unless it is a whole model, one that computes if it is small."""
    network = getattr(model, "network", model)
    if not isinstance(network, fastnet.Sequential):
        raise AssertionError(f"a {type(model).__name__} was read")
    shapes = [np.shape(p) for p in network.params]
    if not shapes or max(max(s, default=1) for s in shapes) > 1000:
        return
    with np.errstate(all="ignore"):
        y = network.predict(np.ones((2, shapes[0][0]), np.float32))
    if y.shape != (2, shapes[-2][1]):
        raise AssertionError(f"a result of shape {y.shape} from weights of {shapes}")


def run(name: str, count: int, seed: int, first: int, progress: Path) -> dict[str, Any]:
    """Read `count` mutants; whatever is neither a model nor a ValueError is raised."""
    found = {"tried": 0, "read": 0, "refused": 0, "slowest": 0.0}
    folder = Path(tempfile.mkdtemp(prefix="mutants", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        path = folder / "mutant"
        seeds = FORMATS[name][0](folder)
        read = FORMATS[name][2]
        for content in seeds:
            path.write_bytes(content)
            checked(read(path))  # imports and compiles what there is
        limit = address_space() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with progress.open("wb", buffering=0) as told:
            for case in range(first, first + count):
                os.pwrite(told.fileno(), b"%d      " % case, 0)
                path.write_bytes(mutant(name, seeds, seed, case))
                signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends the process
                before = time.process_time()
                try:
                    checked(read(path))
                    found["read"] += 1
                except ValueError:
                    found["refused"] += 1
                found["slowest"] = max(found["slowest"], time.process_time() - before)
                found["tried"] += 1
        return found
    finally:
        for leftover in folder.iterdir():
            leftover.unlink()
        folder.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--progress", type=Path, default=Path(os.devnull), help="file for the case at hand")
    options = parser.parse_args()
    warnings.simplefilter("error")
    fastnet.set_num_threads(1)
    print(json.dumps(run(options.format, options.count, options.seed, options.first, options.progress)))


if __name__ == "__main__":
    sys.exit(main())
