"""Files written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A binary file that takes its place under `path` when all has gone well.

    Until then it lies beside it, under a name of its own; if writing fails, it is removed, and what was
    there before is untouched. A symbolic link is followed, the mode of a file that was there is kept.
    """
    target = os.path.realpath(path)
    temporary = os.path.join(
        os.path.dirname(target), f".{os.path.basename(target)[:100]}.{os.urandom(8).hex()}.tmp"
    )
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.isfile(target):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(temporary)
        raise
