"""The one place for compile options, and the digest that ties cached code to the kernel sources."""

from __future__ import annotations

import dis
import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any, ParamSpec, TypeVar

import numba
from llvmlite import binding
from numba import types
from numba.core import config
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.types.functions import BaseFunction

from fastnet.kernels.lock import uncollected, undisturbed

P = ParamSpec("P")
T = TypeVar("T")

#: no fastmath: contraction is written out as fma, and nothing else may be reordered
OPTIONS = {"error_model": "numpy", "boundscheck": False}


def without_rewrites(function: Callable[..., Any]) -> dict[str, bool]:
    """The option that leaves out Numba's rewrites, for whatever raises nothing.

    They make constants of what is raised; the others are of array expressions and the like, which kernels
    have none of, and looking for them takes a seventh of the time. Without them, an exception would be made
    where it is raised, by code that has to hold the interpreter lock.
    """
    operations = function.__code__.co_code[::2]  # behind each is its argument
    raises = dis.opmap["RAISE_VARARGS"] in operations
    return {"no_rewrites": not raises}


@contextmanager
def compiling() -> Iterator[None]:
    """Surroundings of the compiler, also where NUMBA_DISABLE_JIT is set.

    That lets the user's functions run in Python, for a debugger or for coverage, but kernels work on
    addresses, which Python cannot do.
    """
    disabled, config.DISABLE_JIT = config.DISABLE_JIT, 0
    try:
        with uncollected():
            yield
    finally:
        config.DISABLE_JIT = disabled


class _Whole(JITCodeLibrary):
    """A function that is optimised once, when all its parts are in it.

    Numba would simplify each function by itself, and then optimise twice, so as to find pairs of counted
    references in between; kernels have none, and compile a fifth faster like this.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager()
        manager.run(self._final_module, builder)


class _Part(_Whole):
    """A function that is optimised, and becomes machine code, only as part of those that take it in.

    Numba would make machine code of it alone, too, and a process that has compiled, not loaded, would run
    that instead of what was optimised together: the linker takes the first of a name.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0


_find_call_type = BaseFunction.get_call_type
_call_types: dict[tuple[int, Any], tuple[BaseFunction, Any]] = {}


def _call_type(function: BaseFunction, context: Any, args: Any, kws: Any) -> Any:
    """The signature of a call of Numba's own function, found once for the same types.

    Numba tries a dozen templates at each `+`, which takes a tenth of the time.
    """
    if kws:
        return _find_call_type(function, context, args, kws)
    key = id(function), args
    if key not in _call_types:
        _call_types[key] = function, _find_call_type(function, context, args, kws)
    return _call_types[key][1]


@contextmanager
def _compiled_as(library: type[JITCodeLibrary]) -> Iterator[None]:
    """What is compiled meanwhile is of this kind. Numba's lock keeps other threads' functions out."""
    codegen = cpu_target.target_context.codegen()
    with global_compiler_lock:
        usual, codegen._library_class = codegen._library_class, library
        find = BaseFunction.get_call_type
        BaseFunction.get_call_type = _call_type  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            BaseFunction.get_call_type = find  # type: ignore[method-assign]
            codegen._library_class = usual


@contextmanager
def _parts() -> Iterator[None]:
    """While these are compiled."""
    context = cpu_target.target_context
    codegen = context.codegen()
    with _compiled_as(_Part):
        set_env = codegen.set_env

        def define_env(name: str, environment: Any) -> None:
            """The variable that machine code of a part would bring: what exceptions are made from."""
            module = codegen._create_empty_module(name)
            context.declare_env_global(module, name)
            codegen._add_module(binding.parse_assembly(str(module)))
            type(codegen).set_env(codegen, name, environment)

        try:
            codegen.set_env = define_env
            yield
        finally:
            codegen.set_env = set_env


def whole(compile: Callable[P, T]) -> Callable[P, T]:
    """`compile`, of a function that Python or C calls."""
    return compiling()(_compiled_as(_Whole)(compile))


def _dispatcher(function: Callable[..., Any], **options: Any) -> Any:
    with compiling():
        return numba.njit(**options, **without_rewrites(function))(function)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` in these surroundings, now and whenever the function is compiled."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = _dispatcher(function, **options)
        compiled.compile = whole(compiled.compile)
        return compiled

    return decorate


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that only other compiled functions call: it needs no way in from Python or C.

    Left alone, Numba would compile it anew for every number that a caller writes out as an argument.
    """
    compiled = _dispatcher(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)
    compiled.compile = compiling()(_parts()(compiled.compile))
    template = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: template(tuple(map(types.unliteral, args)), kws)
    return compiled


_warned = False


def with_cache_if_possible(compile: Callable[[bool], Any]) -> Any:
    """compile(True), or, where there is no place for a cache or it does not work, compile(False).

    The first time in a process that it comes to this, a warning says so.
    """

    @compiling()
    def attempt() -> Any:
        global _warned
        try:
            return compile(True)
        except Exception as error:
            found = compile(False)  # whatever is wrong with more than the cache comes up again
            if not _warned:
                _warned = True
                text = f"fastnet compiles without a cache: {type(error).__name__}: {error}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            return found

    return undisturbed(attempt)


def source_digest() -> str:
    """Digest of every kernel source and of the settings that change what they compile to."""
    digest = hashlib.sha256(f"{config.OPT} {config.LOOP_VECTORIZE} {config.SLP_VECTORIZE}".encode())
    files = [file for file in resources.files(__package__).iterdir() if file.name.endswith(".py")]
    for file in sorted(files, key=lambda file: file.name):  # of a folder, or of a zip file
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
