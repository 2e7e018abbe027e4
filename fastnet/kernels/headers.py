"""Reading NumPy arrays and lists from compiled code, through the layout that NumPy's C interface fixes.

A one-row call costs well under a microsecond, and most of that would go into unpacking six arrays. So
compiled entry points take references to Python objects, and read the few fields they need from the
object itself: type, number of dimensions, dtype, shape, strides, data. Every array is checked here, at
every call, before an address in it is followed. The global interpreter lock is held throughout.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, box, intrinsic, models, register_model, unbox

from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import load_int32, load_int64

#: bytes of the header every object starts with; its last word is the type
_HEAD = object.__basicsize__
TYPE = _TYPE = _HEAD - 8
# struct PyArrayObject_fields (numpy/ndarraytypes.h)
_DATA, _NDIM, _DIMS, _STRIDES, _DESCR = _HEAD, _HEAD + 8, _HEAD + 16, _HEAD + 24, _HEAD + 40
_FLAGS, _C_CONTIGUOUS, _WRITEABLE = _HEAD + 48, 0x1, 0x400
# PyListObject: the number of items, the address of the items
_LENGTH, _ITEMS = _HEAD, _HEAD + 8
#: the first slot of an instance
_SLOT = _HEAD
# PyBytesObject: length, hash, then the bytes
BYTES_DATA = bytes.__basicsize__ - 1


class ObjectRef(types.Type):
    """A reference to a Python object; `element` is the float type a call computes in.

    Arguments are borrowed, what a compiled function returns is owned; 0 tells that an exception is set.
    """

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(name=f"ObjectRef({element})")


@register_model(ObjectRef)
class _ObjectRefModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, ir.IntType(64))


@unbox(ObjectRef)
def _unbox_reference(typ: Any, obj: Any, c: Any) -> NativeValue:
    return NativeValue(c.builder.ptrtoint(obj, ir.IntType(64)))


@box(ObjectRef)
def _box_reference(typ: Any, value: Any, c: Any) -> Any:
    return c.builder.inttoptr(value, c.pyapi.pyobj)


@intrinsic
def owned(typingctx: Any, ref: Any, address: Any) -> Any:
    """An object as a compiled function returns it, by its address, of which the caller has a reference."""
    return ref(ref, types.int64), lambda context, b, sig, args: args[1]


@intrinsic
def count_reference(typingctx: Any, address: Any) -> Any:
    """One reference more to the object."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        api = context.get_python_api(b)
        api.incref(b.inttoptr(args[0], api.pyobj))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def drop_reference(typingctx: Any, address: Any) -> Any:
    """One reference less to the object."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        api = context.get_python_api(b)
        api.decref(b.inttoptr(args[0], api.pyobj))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def no_memory(typingctx: Any) -> Any:
    """Set a MemoryError as the exception, which takes no memory; 0, for `owned`."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(context.get_python_api(b).pyobj, ())
        b.call(cgutils.get_or_insert_function(b.module, ty, "PyErr_NoMemory"), ())
        return ir.IntType(64)(0)

    return types.int64(), codegen


@intrinsic
def call_array_empty(typingctx: Any, function: Any, ndim: Any, first: Any, second: Any, dtype: Any) -> Any:
    """Address of a new array from PyArray_Empty at `function`, which takes over a reference to `dtype`."""
    word, half = ir.IntType(64), ir.IntType(32)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        function, ndim, first, second, dtype = args
        with b.goto_entry_block():
            shape = b.alloca(word, 2)
        b.store(first, shape)
        b.store(second, b.gep(shape, [half(1)]))
        ty = ir.FunctionType(word, (half, shape.type, word, half))
        return b.call(b.inttoptr(function, ty.as_pointer()), (b.trunc(ndim, half), shape, dtype, half(0)))

    return types.int64(*[types.int64] * 5), codegen


@cache
def array_empty() -> int:
    """Address of NumPy's PyArray_Empty: number 184 of its C interface, whose numbers never change."""
    import ctypes

    from numpy._core import multiarray

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    table = pointer(multiarray._ARRAY_API, None)
    return int(ctypes.c_void_p.from_address(table + 8 * 184).value or 0)


@intrinsic
def address_of(typingctx: Any, ref: Any) -> Any:
    return types.int64(ref), lambda context, b, sig, args: args[0]


@intrinsic
def zero_of(typingctx: Any, ref: Any) -> Any:
    """0 in the type that the call computes in."""
    element = ref.element
    return element(ref), lambda context, b, sig, args: context.get_constant(element, 0.0)


@kernel
def same_kind(array, model):
    """Whether an object is an array of the very type and dtype object of `model`, which Python checked."""
    return same_type(array, model) and load_int64(array + _DESCR) == load_int64(model + _DESCR)


@kernel
def is_array(x, kind, dtype):
    """Whether an object is of the class `kind`, ndarray, and of the very dtype."""
    return load_int64(x + _TYPE) == kind and load_int64(x + _DESCR) == dtype


@kernel
def same_type(one, other):
    return load_int64(one + _TYPE) == load_int64(other + _TYPE)


@kernel
def same_items(one, other):
    """Whether two lists hold the same objects; `other` is known to be a list."""
    if not same_type(one, other) or list_length(one) != list_length(other):
        return False
    for i in range(list_length(one)):  # noqa: SIM110 - compiled code has no generators
        if list_item(one, i) != list_item(other, i):
            return False
    return True


@kernel
def is_contiguous(array):
    return load_int32(array + _FLAGS) & _C_CONTIGUOUS != 0


@kernel
def is_writeable(array):
    return load_int32(array + _FLAGS) & _WRITEABLE != 0


@kernel
def ndim(array):
    return load_int32(array + _NDIM)


@kernel
def data(array):
    return load_int64(array + _DATA)


@kernel
def length(array, axis):
    return load_int64(load_int64(array + _DIMS) + 8 * axis)


@kernel
def stride(array, axis):
    return load_int64(load_int64(array + _STRIDES) + 8 * axis)


@kernel
def _first(array):
    """The lowest address that an array covers."""
    low = data(array)
    for axis in range(ndim(array)):
        low += min((length(array, axis) - 1) * stride(array, axis), 0)
    return low


@kernel
def _beyond(array, size):
    """The address beyond its last element."""
    high = data(array) + size
    for axis in range(ndim(array)):
        high += max((length(array, axis) - 1) * stride(array, axis), 0)
    return high


@kernel
def are_apart(one, other, size):
    """Whether the ranges of memory that two arrays cover are apart; perhaps not if one is empty."""
    return _beyond(one, size) <= _first(other) or _beyond(other, size) <= _first(one)


@kernel
def list_length(items):
    return load_int64(items + _LENGTH)


@kernel
def list_item(items, index):
    return load_int64(load_int64(items + _ITEMS) + 8 * index)


@kernel
def params_of(layer, model):
    """The list in the slot ``params`` of a layer, or 0 if there is none; `model` is known to be a list."""
    params = load_int64(layer + _SLOT)
    if params != 0 and same_type(params, model):
        return params
    return 0


class _Slot:
    __slots__ = ("params",)
    params: Any


def layout_is_known() -> bool:
    """Whether this interpreter and this NumPy lay out their objects as assumed above."""
    import ctypes

    def word(address: int) -> int:
        return int(ctypes.c_int64.from_address(address).value)

    if sys.implementation.name != "cpython" or sys.maxsize < 2**32:
        return False
    if object.__basicsize__ != 16:  # debugging and free-threaded builds have longer heads
        return False
    probe = np.zeros((3, 5), np.float32)[:, ::2]
    array, items, slot = id(probe), [probe, None], _Slot()
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    slot.params = probe
    return (
        word(array + _TYPE) == id(np.ndarray)
        and word(array + _DATA) == probe.ctypes.data
        and word(array + _NDIM) & 0xFFFFFFFF == 2
        and word(word(array + _DIMS)) == 3
        and word(word(array + _DIMS) + 8) == 3
        and word(word(array + _STRIDES)) == 20
        and word(word(array + _STRIDES) + 8) == 8
        and word(array + _DESCR) == id(probe.dtype)
        and word(array + _FLAGS) & (_C_CONTIGUOUS | _WRITEABLE) == _WRITEABLE
        and word(id(frozen) + _FLAGS) & (_C_CONTIGUOUS | _WRITEABLE) == _C_CONTIGUOUS
        and word(id(items) + _LENGTH) == 2
        and word(word(id(items) + _ITEMS)) == array
        and word(id(slot) + _SLOT) == array
        and ctypes.c_char.from_address(id(b"\x07") + BYTES_DATA).value == b"\x07"
    )
