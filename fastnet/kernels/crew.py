"""Threads that share out ranges of rows: all that is done without the interpreter lock.

A caller puts a task into the mailboxes of helpers, takes part itself, and is done when nobody is at work for
it any more: one call of compiled code, into which no interrupt comes. A helper that has not begun by then is
not waited for. Who has nothing to do looks out for more, for some 100 to 200 microseconds, and then sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels.atomic import add_atomic, exchange, load_atomic, look_out, replace
from fastnet.kernels.cache import cached
from fastnet.kernels.headers import ObjectRef, address_of, data, length
from fastnet.kernels.jit import OPTIONS, kernel, njit, source_digest, with_cache_if_possible
from fastnet.kernels.placement import allow, current_cpu, keep_off
from fastnet.kernels.primitives import load_int64, stack_bytes, store_int64
from fastnet.kernels.vector import I32, I64

_INT = types.int64

#: a mailbox: its state, the lock that the helper sleeps on, Python's functions for locks, C's for the
#: settings of the floating-point unit; which CPU the helper is kept off by who woke it, -1 for none; the
#: system's functions for CPUs, 0 where there are none; and its number for the helper, 0 as long as unknown
STATE, WAKE, ALLOCATE, ACQUIRE, RELEASE, FREE, GET_SETTINGS, SET_SETTINGS = range(0, 64, 8)
KEPT_OFF, GET_CPU, GET_AFFINITY, SET_AFFINITY, THREAD = range(64, 104, 8)
MAILBOX_BYTES = 128
#: states; with a task in the mailbox, its address and one of the first two, and that its caller sleeps
AWAKE, RUNNING, ASLEEP, AWAITED = 0, 1, 2, 4
_FLAGS = RUNNING | ASLEEP | AWAITED

#: a task: a function of (context, first, stop); rows in all, and of a piece; what the function returned when
#: it was not 0; the lock that the caller sleeps on; on lines of their own the next row, and how the caller's
#: floating-point unit is set, for which no platform takes more than half of that
_FUNCTION, _CONTEXT, _ROWS, _PIECE, _ANSWER, _LOCK = range(0, 48, 8)
_NEXT, _SETTINGS, _TASK_BYTES = 64, 128, 192

#: how often one looks before one sleeps: some 100 microseconds on a Zen 5, 200 where a pause is longer. A
#: helper that comes when a brief call is over has to be awake when the next one comes (with a quarter of
#: that, 60 instead of 40 microseconds a call for 784-128-10 x 64)
_LOOKS = 4000


@intrinsic
def _call_range(typingctx: Any, function: Any, context: Any, first: Any, stop: Any) -> Any:
    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(I64, (I64,) * 3)
        return b.call(b.inttoptr(args[0], ty.as_pointer()), args[1:])

    return _INT(_INT, _INT, _INT, _INT), codegen


@intrinsic
def _allocate(typingctx: Any, function: Any) -> Any:
    """A new lock, 0 if there is no memory: PyThread_allocate_lock, which needs no interpreter lock."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(I64, ())
        return b.call(b.inttoptr(args[0], ty.as_pointer()), ())

    return _INT(_INT), codegen


@intrinsic
def _acquire(typingctx: Any, function: Any, lock: Any) -> Any:
    """Take the lock, asleep until it is released: PyThread_acquire_lock, which needs none either."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(I32, (I64, I32))
        b.call(b.inttoptr(args[0], ty.as_pointer()), (args[1], I32(1)))
        return context.get_dummy_value()

    return types.void(_INT, _INT), codegen


@intrinsic
def _call(typingctx: Any, function: Any, argument: Any) -> Any:
    """Release a lock, or free it: PyThread_release_lock, PyThread_free_lock. Or fegetenv, fesetenv."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(ir.VoidType(), (I64,))
        b.call(b.inttoptr(args[0], ty.as_pointer()), (args[1],))
        return context.get_dummy_value()

    return types.void(_INT, _INT), codegen


@kernel
def _take(task):
    """Piece after piece until none is left, or one was answered by something else than 0."""
    function, context = load_int64(task + _FUNCTION), load_int64(task + _CONTEXT)
    rows, piece = load_int64(task + _ROWS), load_int64(task + _PIECE)
    while True:
        first = add_atomic(task + _NEXT, piece)
        if first >= rows:
            return
        answer = _call_range(function, context, first, min(first + piece, rows))
        if answer != 0:
            exchange(task + _ANSWER, answer)
            add_atomic(task + _NEXT, rows)


@kernel
def _keep_off(mailbox):
    """Have a helper that sleeps wake on another CPU than this one, which the caller needs."""
    cpu = current_cpu(load_int64(mailbox + GET_CPU))
    if load_atomic(mailbox + KEPT_OFF) < 0 and keep_off(
        load_atomic(mailbox + THREAD),
        cpu,
        load_int64(mailbox + GET_AFFINITY),
        load_int64(mailbox + SET_AFFINITY),
    ):
        exchange(mailbox + KEPT_OFF, cpu)


@kernel
def _allow(mailbox):
    """Let this helper, now awake, use all of its CPUs again."""
    cpu = exchange(mailbox + KEPT_OFF, -1)
    if cpu >= 0:
        allow(cpu, load_int64(mailbox + GET_AFFINITY), load_int64(mailbox + SET_AFFINITY))


@kernel
def _ask(mailboxes, count, wanted, task):
    """Put the task into the mailboxes of so many helpers: of those who are awake, if possible."""
    for i in range(count):
        if wanted > 0 and replace(load_int64(mailboxes + 8 * i) + STATE, AWAKE, task):
            wanted -= 1
    for i in range(count):
        mailbox = load_int64(mailboxes + 8 * i)
        if wanted > 0 and replace(mailbox + STATE, ASLEEP, task | ASLEEP):
            _keep_off(mailbox)
            _call(load_int64(mailbox + RELEASE), load_int64(mailbox + WAKE))
            wanted -= 1


@kernel
def _sleep_until_done(mailbox, task):
    """On a lock that nobody else waits for, or not at all if there is no memory for one."""
    lock = _allocate(load_int64(mailbox + ALLOCATE))
    if lock != 0:
        _acquire(load_int64(mailbox + ACQUIRE), lock)
        store_int64(task + _LOCK, lock)
        if replace(mailbox + STATE, task | RUNNING, task | RUNNING | AWAITED):
            _acquire(load_int64(mailbox + ACQUIRE), lock)
        _call(load_int64(mailbox + FREE), lock)


@kernel
def _collect(mailbox, task):
    """Take the task back if the helper has not begun, else wait until it is done."""
    state = load_atomic(mailbox + STATE)
    while state & ~_FLAGS == task:
        if state & RUNNING == 0:
            replace(mailbox + STATE, state, state & ASLEEP)
        elif look_out(mailbox + STATE, state, _LOOKS) == state:
            _sleep_until_done(mailbox, task)
        state = load_atomic(mailbox + STATE)


def _make(digest: str, cache: bool) -> tuple[Any, ...]:
    @njit(nogil=True, **OPTIONS)
    def share(function, context_ref, rows, piece, wanted, mailboxes_ref):
        digest  # noqa: B018
        mailboxes, count = data(address_of(mailboxes_ref)), length(address_of(mailboxes_ref), 0)
        task = stack_bytes(_TASK_BYTES)
        store_int64(task + _FUNCTION, function)
        store_int64(task + _CONTEXT, data(address_of(context_ref)))
        store_int64(task + _ROWS, rows)
        store_int64(task + _PIECE, piece)
        store_int64(task + _ANSWER, 0)
        store_int64(task + _NEXT, 0)
        if wanted > 0 and count > 0:
            _call(load_int64(load_int64(mailboxes) + GET_SETTINGS), task + _SETTINGS)
            _ask(mailboxes, count, wanted, task)
        _take(task)
        if wanted > 0:
            for i in range(count):
                _collect(load_int64(mailboxes + 8 * i), task)
        return load_atomic(task + _ANSWER)

    @njit(nogil=True, **OPTIONS)
    def serve(mailbox_ref):
        digest  # noqa: B018
        mailbox = data(address_of(mailbox_ref))
        while True:
            state = look_out(mailbox + STATE, AWAKE, _LOOKS)
            if state == AWAKE and replace(mailbox + STATE, AWAKE, ASLEEP):
                _acquire(load_int64(mailbox + ACQUIRE), load_int64(mailbox + WAKE))
                _allow(mailbox)
                replace(mailbox + STATE, ASLEEP, AWAKE)  # too late for that call, but not for the next
            state = load_atomic(mailbox + STATE)
            task = state & ~_FLAGS
            if task != 0 and replace(mailbox + STATE, state, task | RUNNING):
                _call(load_int64(mailbox + SET_SETTINGS), task + _SETTINGS)
                _take(task)
                if exchange(mailbox + STATE, AWAKE) & AWAITED:  # the task is there until its lock is released
                    _call(load_int64(mailbox + RELEASE), load_int64(task + _LOCK))

    functions = share, serve
    return tuple(map(cached, functions)) if cache else functions


_REF = ObjectRef(_INT)
_SIGNATURES = (_INT, _REF, _INT, _INT, _INT, _REF), (_REF,)
_kept: dict[int, Any] = {}


def _function(which: int) -> Any:
    """One of those of `_make`, compiled or loaded by the first who asks."""

    def compile(cache: bool) -> Any:
        function = _make(source_digest(), cache)[which]
        function.compile(_SIGNATURES[which])
        return function

    if which not in _kept:
        _kept[which] = with_cache_if_possible(compile)
    return _kept[which]


def functions() -> tuple[Any, ...]:
    """What Numba makes of `share` and `serve`."""
    return _function(0), _function(1)


def share() -> Callable[..., int]:
    """The compiled function of (function, context, rows, piece, wanted, mailboxes).

    It calls function(context, first, stop) for pieces that cover all rows, and ends when nobody is at work
    any more: 0, or what was answered instead and ended it. The function is an address, context and mailboxes
    are arrays of int64, the latter the addresses of helpers' mailboxes; up to `wanted` of them take part.
    """
    entry_point: Callable[..., int] = _entry_point(_function(0))
    return entry_point


def serve() -> Callable[..., None]:
    """The compiled function of a mailbox, an array of int64: what a helper does. It does not return."""
    entry_point: Callable[..., None] = _entry_point(_function(1))
    return entry_point


def _entry_point(function: Any) -> Any:
    [overload] = function.overloads.values()
    return overload.entry_point
