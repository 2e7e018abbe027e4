"""What a command tells its user when it cannot go on."""

from __future__ import annotations

from pathlib import Path


class CommandError(Exception):
    """Said in one line on stderr, without a traceback; the exit code is 1."""


def about(path: Path, error: BaseException) -> CommandError:
    """An error of a library, told of the file that it is about."""
    text = one_line(error)
    return CommandError(text if str(path) in text else f"{path}: {text}")


def one_line(error: BaseException) -> str:
    """The error's message in one line; an OSError's names its file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
