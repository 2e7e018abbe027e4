"""How a thread's floating-point unit is set: rounding, flushing of subnormal numbers; C's ``fenv.h``."""

from __future__ import annotations

import functools
import sys
from typing import Any

#: no platform's ``fenv_t`` is larger than half of this
_BYTES = 64


@functools.cache
def _functions() -> tuple[Any, Any]:
    import ctypes

    library = ctypes.PyDLL("ucrtbase" if sys.platform == "win32" else None)
    return library.fegetenv, library.fesetenv


def settings() -> bytearray:
    """Those of this thread."""
    import ctypes

    found = bytearray(_BYTES)
    _functions()[0](ctypes.byref((ctypes.c_char * _BYTES).from_buffer(found)))
    return found


def set_to(wanted: bytearray) -> None:
    """Have this thread compute under settings that another one had."""
    import ctypes

    _functions()[1](ctypes.byref((ctypes.c_char * _BYTES).from_buffer(wanted)))
