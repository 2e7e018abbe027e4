"""Time callables against each other in one process, taking turns, so that noise falls on all alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from itertools import repeat
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

__all__ = ["Timing", "Turn", "interleave", "take_turns"]


class Timing(NamedTuple):
    """What one callable costs."""

    seconds: float
    """Per call: the median over the rounds."""
    ratio: float
    """To the baseline of the same round: the median over the rounds. Below 1 is faster."""


def _nanoseconds(call: Callable[[], object], loops: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, loops):
        call()
    return max(perf_counter_ns() - start, 1)  # the clock may be coarse


def _loops(call: Callable[[], object], min_time: float) -> int:
    """Find how many calls last ``min_time`` seconds."""
    loops, wanted = 1, min_time * 1e9
    # The better of two, and at most tenfold a step: neither a hiccup nor a first call that compiles
    # must pass for a slow callable.
    while (elapsed := min(_nanoseconds(call, loops), _nanoseconds(call, loops))) < wanted:
        loops = min(int(loops * 1.2 * wanted / elapsed) + 1, 10 * loops)
    return loops


class Turn:
    """Times a callable whenever it is called: nanoseconds, the mean over ``min_time`` seconds or more."""

    def __init__(self, call: Callable[[], object], min_time: float = 0.005) -> None:
        self.call = call
        self.loops = _loops(call, min_time)

    def __call__(self) -> float:
        return _nanoseconds(self.call, self.loops) / self.loops


def interleave(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Timing]:
    """Give each a turn, round by round, every second round in reverse; medians of what they return.

    Parameters
    ----------
    turns : mapping of str to callable
        Each returns the nanoseconds of a call. The first one is the baseline of the ratios.
    rounds : int
        At least 1.

    Returns
    -------
    dict of str to Timing
        In the order of ``turns``.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in turns if number % 2 == 0 else reversed(list(turns)):
            times[name].append(turns[name]())
    baseline = next(iter(times.values()))
    return {
        name: Timing(median(turn) * 1e-9, median(a / b for a, b in zip(turn, baseline, strict=True)))
        for name, turn in times.items()
    }


def take_turns(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 11, min_time: float = 0.005
) -> dict[str, Timing]:
    """Time callables in rounds; in each round every one of them has a turn.

    A ratio is taken within a round, where both sides met the same clock speed and neighbours, and only
    then the median: it is steadier than the ratio of two medians. Every second round runs in reverse, so
    that none always follows the same other. The garbage collector is off during the rounds.

    Parameters
    ----------
    calls : mapping of str to callable
        What to time, called without arguments. The first one is the baseline of the ratios.
    rounds : int, optional
        At least 1.
    min_time : float, optional
        Seconds a turn should last at least; what is quicker than that is called many times a turn.

    Returns
    -------
    dict of str to Timing
        In the order of ``calls``.
    """
    turns = {name: Turn(call, min_time) for name, call in calls.items()}
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        return interleave(turns, rounds)
    finally:
        if gc_was_on:
            gc.enable()
