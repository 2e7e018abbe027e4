"""Rows of numbers from .npy and .csv files, a block at a time, so that no file is too large."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from fastnet.commands.errors import CommandError


class Block(NamedTuple):
    """Consecutive rows, and how many bytes of the file they take."""

    rows: np.ndarray[Any, Any]
    size: int


class Source(Protocol):
    """A file of rows."""

    width: int
    #: bytes of all blocks together, nearly
    size: int
    #: how much to take at a time, in bytes of numbers
    block_bytes: int

    def blocks(self, rows: int, dtype: np.dtype[Any]) -> Iterator[Block]:
        """All rows in order, at most `rows` at a time; one block without rows if there are none."""


class NpySource:
    """Rows of a two-dimensional .npy file, each block memory-mapped on its own.

    So what is mapped at any time is a block, not the file: neither the address space nor the resident
    memory of the process grows with it. A file in Fortran order, whose rows lie scattered, is mapped
    whole, anew for every block.
    """

    block_bytes = 1 << 23

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._shape, self._fortran, self._dtype = _read_header(file)
                self._offset = file.tell()
        except ValueError as error:
            raise CommandError(f"{path}: not a .npy file of numbers: {error}") from error
        if len(self._shape) != 2:
            raise CommandError(f"{path}: an array of shape {self._shape}, not of rows and columns")
        if self._dtype.kind not in "biuf":
            raise CommandError(f"{path}: an array of {self._dtype}, not of real numbers")
        self._rows, self.width = self._shape
        self.size = self._rows * self.width * self._dtype.itemsize
        if path.stat().st_size < self._offset + self.size:
            have = path.stat().st_size - self._offset
            raise CommandError(f"{path}: truncated: {have} bytes of the {self.size} that it announces")

    def blocks(self, rows: int, dtype: np.dtype[Any]) -> Iterator[Block]:
        for first in range(0, max(self._rows, 1), rows):
            count = min(rows, self._rows - first)
            mapped = self._map(first, count)
            try:
                with np.errstate(over="raise"):
                    block = np.asarray(mapped, dtype)
            except FloatingPointError:
                raise CommandError(f"{self._path}: has numbers beyond the range of {dtype}") from None
            yield Block(block, mapped.nbytes)

    def _map(self, first: int, count: int) -> np.ndarray[Any, Any]:
        if count * self.width == 0:  # there are no empty memory maps
            return np.empty((count, self.width), self._dtype)
        if self._fortran:
            shape = (self._rows, self.width)
            whole = np.memmap(self._path, self._dtype, "r", self._offset, shape, order="F")
            return whole[first : first + count]
        offset = self._offset + first * self.width * self._dtype.itemsize
        return np.memmap(self._path, self._dtype, "r", offset, (count, self.width))


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, dtype; the file stands at the data then."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} of the format")


class CsvSource:
    """Rows of a text file, one a line, numbers separated by commas.

    A first line none of whose fields is a number is a heading, and skipped; so are blank lines.
    """

    block_bytes = 1 << 20  # the text of a number, and its line, take some ten times as much

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size
        with self._lines() as lines:
            number, first = next(lines, (0, ""))
            self._heading = number if first and not any(map(_is_number, _fields(first))) else 0
            if self._heading:
                number, first = next(lines, (0, ""))
        if not first:
            raise CommandError(f"{path}: no rows")
        self.width = len(_fields(first))

    @contextmanager
    def _lines(self) -> Iterator[Iterator[tuple[int, str]]]:
        """The lines that are not blank, each with its number, from 1."""
        with self._path.open(encoding="utf-8-sig") as file:
            numbered = enumerate(file, 1)
            try:
                yield ((number, line) for number, line in numbered if not line.isspace())
            except UnicodeDecodeError as error:
                raise CommandError(f"{self._path}: not a text file in UTF-8: {error}") from error

    def blocks(self, rows: int, dtype: np.dtype[Any]) -> Iterator[Block]:
        with self._lines() as lines:
            after = itertools.dropwhile(lambda line: line[0] <= self._heading, lines)
            for block in iter(lambda: list(itertools.islice(after, rows)), []):
                yield Block(self._parsed(block, dtype), sum(len(line) for _, line in block))

    def _parsed(self, block: list[tuple[int, str]], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        try:
            parsed = np.loadtxt(
                [line for _, line in block], dtype, comments=None, delimiter=",", quotechar='"', ndmin=2
            )
        except ValueError as error:
            raise CommandError(self._complaint(block)) from error
        if parsed.shape != (len(block), self.width):
            raise CommandError(self._complaint(block))
        return parsed

    def _complaint(self, block: list[tuple[int, str]]) -> str:
        """What is wrong with the first line that is not a row of numbers."""
        for number, line in block:
            fields = _fields(line)
            if len(fields) != self.width:
                return f"{self._path}, line {number}: {len(fields)} columns, not {self.width}"
            for column, field in enumerate(fields, 1):
                if not _is_number(field):
                    return f"{self._path}, line {number}, column {column}: {field!r} is not a number"
        return f"{self._path}, lines {block[0][0]} to {block[-1][0]}: not rows of numbers"


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line.strip("\r\n")]))
    except csv.Error:  # an endless field, say: no text of numbers at all
        return [line]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # a number to Python only


SOURCES: dict[str, Callable[[Path], Source]] = {".npy": NpySource, ".csv": CsvSource}


def open_source(path: Path) -> Source:
    """The rows of a file, by the suffix of its name."""
    kind = SOURCES.get(path.suffix.lower())
    if kind is None:
        raise CommandError(f"{path}: the input's name must end in {' or '.join(SOURCES)}")
    if not os.path.isfile(path):
        path.open("rb").close()  # raises what is wrong, if it does
        raise CommandError(f"{path}: not a regular file")
    return kind(path)
