"""An attribute that is found when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class once(Generic[T]):
    """`functools.cached_property` as newer Pythons have it: without a lock, which a fork could leave taken.

    Threads that ask first at the same time may all compute it; all of them get the same.
    """

    def __init__(self, find: Callable[[Any], T]) -> None:
        self._find = find
        self.__doc__ = find.__doc__

    def __set_name__(self, owner: Any, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value] # as a property of a class does
        found: T = vars(instance).setdefault(self._name, self._find(instance))
        return found
