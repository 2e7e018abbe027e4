"""What is promised of the bits of a result, on the machine and in the thread at hand."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Guarantees(NamedTuple):
    """What `guarantees` found."""

    #: whether a row's result is the same bits here as on any other CPU for which this is true
    same_bits: bool
    #: the instruction set that kernels are compiled for: its name, and what of it they use
    target: str
    #: why not, if not: a sentence each
    shortfalls: tuple[str, ...]


def guarantees() -> Guarantees:
    """Say whether results have the bits that they have everywhere else.

    For finite and infinite inputs, and the same version of fastnet, a row's result is the same bits in any
    batch, at any place in it, from any memory layout, on any number of threads, and on any CPU whose
    arithmetic is that of IEEE 754 with a fused multiply-add. This asks whether the CPU is one, and whether
    another library has changed how the calling thread rounds.

    Returns
    -------
    Guarantees
        ``same_bits``, ``target`` and ``shortfalls``, which is empty where ``same_bits`` is true.

    Notes
    -----
    Nothing is changed or compensated. Threads inherit the mode of arithmetic from the thread that starts
    them, so with one that flushes or rounds otherwise a result may depend on the number of threads, too.

    Examples
    --------
    >>> import fastnet
    >>> fastnet.guarantees().shortfalls
    ()
    """
    from fastnet.kernels import target

    found = []
    if not target.has_fma():
        found.append(
            "the CPU has no fused multiply-add: the C library's stands in, slowly, and may round otherwise"
        )
    if _flushes():
        found.append("this thread flushes subnormal numbers to zero: results below the normal range are lost")
    if not _rounds_to_nearest():
        found.append("this thread does not round to nearest: no result has its usual bits")
    return Guarantees(not found, target.name(), tuple(found))


def _flushes() -> bool:
    """Whether subnormal results or operands count as 0 (FTZ and DAZ of x86, FZ of Arm)."""
    smallest, subnormal = sys.float_info.min, float.fromhex("0x1p-1074")
    return not (smallest * 0.5 > 0.0 and subnormal * 2.0**60 > 0.0)


def _rounds_to_nearest() -> bool:
    one, less = 1.0, sys.float_info.epsilon / 8
    return one + less == one and one - less == one and -one - less == -one
