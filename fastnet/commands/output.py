"""Results written a block at a time, to a file that appears only when it is whole."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from fastnet.commands.errors import CommandError


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, which takes its place at the end of the block.

    If the block ends in an exception, an interrupt among them, `target` is as it was, and nothing is left
    of the other file.
    """
    target = Path(os.path.realpath(target))  # a link stays one, and what it points to is replaced
    # The last suffix is kept: libraries go by it.
    beside = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield beside
        if target.exists():
            os.chmod(beside, target.stat().st_mode & 0o7777)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            beside.unlink()
        raise


class Writer(Protocol):
    """Takes blocks of rows; after `finish` the file is whole."""

    def write(self, block: np.ndarray[Any, Any]) -> None: ...

    def finish(self) -> None: ...


class NpyWriter:
    """Writes .npy. The number of rows is known at the end, and then written into the header.

    Blocks are written, not stored through a memory map: a full disk is then an error that can be told,
    where a memory map ends the process.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0
        self._like: np.ndarray[Any, Any] | None = None
        self._header_bytes = 0

    def write(self, block: np.ndarray[Any, Any]) -> None:
        if self._like is None:
            self._like = block[:0]
            self._header_bytes = self._file.write(self._header(0))
        self._rows += len(block)
        self._file.write(np.ascontiguousarray(block).data)

    def finish(self) -> None:
        header = self._header(self._rows)
        if len(header) != self._header_bytes:  # NumPy leaves room for any number of rows
            raise RuntimeError(f"a header of {self._header_bytes} bytes became one of {len(header)}")
        self._file.seek(0)
        self._file.write(header)

    def _header(self, rows: int) -> bytes:
        if self._like is None:
            raise RuntimeError("no block was written")
        header = np.lib.format.header_data_from_array_1_0(self._like)
        text = io.BytesIO()
        shape = (rows, *self._like.shape[1:])
        np.lib.format.write_array_header_1_0(text, {**header, "shape": shape, "fortran_order": False})
        return text.getvalue()


class CsvWriter:
    """Writes numbers in the fewest digits that read back as the same number, without a heading."""

    def __init__(self, file: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text, lineterminator="\n")

    def write(self, block: np.ndarray[Any, Any]) -> None:
        rows = block if block.ndim == 2 else block[:, np.newaxis]
        # Python's float is float64: a float32 has to be spelled by NumPy, or it gets digits it has not.
        short = rows.dtype.kind == "f" and rows.dtype != np.float64
        self._csv.writerows((rows.astype(str) if short else rows).tolist())

    def finish(self) -> None:
        self._text.detach()


WRITERS: dict[str, Callable[[IO[bytes]], Writer]] = {".npy": NpyWriter, ".csv": CsvWriter}


def check_target(target: Path, source: Path) -> None:
    """Raise unless results can go to `target`, before there are any."""
    if target.suffix.lower() not in WRITERS:
        raise CommandError(f"{target}: the output's name must end in {' or '.join(WRITERS)}")
    if target.is_dir():
        raise CommandError(f"{target}: is a directory")
    if not target.parent.is_dir():
        raise CommandError(f"{target.parent}: no such directory")
    if target.exists() and target.samefile(source):
        raise CommandError(f"{target}: input and output are the same file")


@contextmanager
def results_to(target: Path) -> Iterator[Writer]:
    """Write blocks to `target`, all of them or none."""
    with atomic(target) as beside, beside.open("xb") as file:
        writer = WRITERS[target.suffix.lower()](file)
        yield writer
        writer.finish()
