"""SIMD vectors while a kernel is being compiled: Python operators on a ``Vec`` append LLVM instructions.

This file and the intrinsics built on it are the only places that speak LLVM. Every operation is one
that IEEE 754 rounds correctly, or moves bits, so a result does not depend on the instruction set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from fastnet.kernels.target import VECTOR_BYTES

I1 = ir.IntType(1)
I32 = ir.IntType(32)
I64 = ir.IntType(64)


def scalar_type(itemsize: int) -> ir.Type:
    return ir.FloatType() if itemsize == 4 else ir.DoubleType()


class Vec:
    """One vector register of floats, or of integers of the same width."""

    __slots__ = ("b", "v")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.b = builder
        self.v = value

    # -- arithmetic, each operation rounded once

    def __add__(self, other: Vec) -> Vec:
        return Vec(self.b, self.b.fadd(self.v, other.v))

    def __sub__(self, other: Vec) -> Vec:
        return Vec(self.b, self.b.fsub(self.v, other.v))

    def __mul__(self, other: Vec) -> Vec:
        return Vec(self.b, self.b.fmul(self.v, other.v))

    def __truediv__(self, other: Vec) -> Vec:
        return Vec(self.b, self.b.fdiv(self.v, other.v))

    def __neg__(self) -> Vec:
        return Vec(self.b, self.b.fneg(self.v))

    def fma(self, factor: Vec, addend: Vec) -> Vec:
        """self * factor + addend, rounded once."""
        # declare_intrinsic refuses vector types, so the function is declared by its name
        kind = "f32" if itemsize_of(self) == 4 else "f64"
        name = f"llvm.fma.v{lanes_of(self)}{kind}"
        ty = self.v.type
        fn = self.b.module.globals.get(name) or ir.Function(
            self.b.module, ir.FunctionType(ty, (ty, ty, ty)), name
        )
        return Vec(self.b, self.b.call(fn, (self.v, factor.v, addend.v)))

    # -- selection and bits

    def __lt__(self, other: Vec) -> Vec:
        """Lanes where self < other; false where either is NaN."""
        return Vec(self.b, self.b.fcmp_ordered("<", self.v, other.v))

    def where(self, chosen: Vec, otherwise: Vec) -> Vec:
        """Lanes of `chosen` where this mask is set, of `otherwise` elsewhere."""
        return Vec(self.b, self.b.select(self.v, chosen.v, otherwise.v))

    def bits(self) -> Vec:
        ty = ir.VectorType(ir.IntType(8 * itemsize_of(self)), lanes_of(self))
        return Vec(self.b, self.b.bitcast(self.v, ty))

    def exponent_field(self) -> Vec:
        """The float whose exponent field is the low bits of this one: 2.0 ** (low bits - bias)."""
        mantissa = 23 if itemsize_of(self) == 4 else 52
        bits = self.bits()
        shift = bits.v.type([mantissa] * lanes_of(self))
        return Vec(self.b, self.b.bitcast(self.b.shl(bits.v, shift), self.v.type))

    def __abs__(self) -> Vec:
        """Without the sign bit."""
        bits = self.bits()
        mask = bits.v.type([(1 << 8 * itemsize_of(self) - 1) - 1] * lanes_of(self))
        return Vec(self.b, self.b.bitcast(self.b.and_(bits.v, mask), self.v.type))

    def with_sign_of(self, other: Vec) -> Vec:
        """This, its sign bit (which has to be 0) replaced by that of `other`."""
        mask = other.bits().v.type([-1 << 8 * itemsize_of(self) - 1] * lanes_of(self))
        sign = self.b.and_(other.bits().v, mask)
        return Vec(self.b, self.b.bitcast(self.b.or_(self.bits().v, sign), self.v.type))

    def like(self, value: float) -> Vec:
        """A constant in every lane."""
        return Vec(self.b, self.v.type([value] * lanes_of(self)))

    def shuffle(self, other: Vec, lanes: Sequence[int | None]) -> Vec:
        """Lanes picked by number out of self (0..n-1) and other (n..2n-1); None leaves a lane where it is."""
        mask = ir.VectorType(I32, len(lanes))([at if i is None else i for at, i in enumerate(lanes)])
        return Vec(self.b, self.b.shuffle_vector(self.v, other.v, mask))

    def beside(self, other: Vec) -> Vec:
        """The lanes of self, then those of other."""
        lanes = list(range(2 * self.v.type.count))
        return self.shuffle(other, lanes)

    def halves(self) -> tuple[Vec, Vec]:
        lanes = list(range(self.v.type.count))
        half = len(lanes) // 2
        return self.shuffle(self, lanes[:half]), self.shuffle(self, lanes[half:])


def lanes_of(vec: Vec) -> int:
    return int(vec.v.type.count)


def itemsize_of(vec: Vec) -> int:
    return 4 if isinstance(vec.v.type.element, ir.FloatType) else 8


# -- memory: addresses are 64-bit integers; no alignment is assumed, as NumPy promises none. Widths are of
# vectors, in bytes


def vector_type(itemsize: int, together: int = 1) -> ir.VectorType:
    return ir.VectorType(scalar_type(itemsize), together * VECTOR_BYTES // itemsize)


def load(b: ir.IRBuilder, address: ir.Value, ty: ir.Type) -> ir.Value:
    value = b.load(b.inttoptr(address, ty.as_pointer()), align=1)
    return value


def load_pieces(
    b: ir.IRBuilder, addresses: Sequence[ir.Value], itemsize: int, width: int = VECTOR_BYTES
) -> Vec:
    """A vector of pieces, each from its address; most are put in place by the load itself."""
    n = width // itemsize
    e = n // len(addresses)
    widen = ir.VectorType(I32, n)([i % e for i in range(n)])
    found: Vec | None = None
    for p, address in enumerate(addresses):
        piece = load(b, address, ir.VectorType(scalar_type(itemsize), e))
        wide = Vec(b, b.shuffle_vector(piece, piece, widen)) if n > e else Vec(b, piece)
        if found is None:
            found = wide
        else:
            found = found.shuffle(wide, [n + i - p * e if i // e == p else i for i in range(n)])
    assert found is not None
    return found


def function(b: ir.IRBuilder, name: str, arguments: int, emit: Callable[..., None]) -> ir.Function:
    """The function of this name, emitted by the first who asks the module for it, never inlined."""
    found = b.module.globals.get(name)
    if found is None:
        ty = ir.FunctionType(ir.VoidType(), [I64] * arguments)
        found = ir.Function(b.module, ty, name)
        found.linkage = "internal"
        found.attributes.add("noinline")
        inside = ir.IRBuilder(found.append_basic_block("entry"))
        emit(inside, *found.args)
        inside.ret_void()
    return found


def places(b: ir.IRBuilder, first: ir.Value, count: int, head: ir.Value, last: ir.Value) -> list[ir.Value]:
    """Where vectors side by side begin, `first` bytes behind `head` and on; within 0 and `last`."""
    found = []
    for v in range(count):
        place = b.add(head, b.add(first, I64(v * VECTOR_BYTES)))
        place = b.select(b.icmp_signed("<", place, I64(0)), I64(0), place)
        found.append(b.select(b.icmp_signed(">", place, last), last, place))
    return found


def repeat(
    b: ir.IRBuilder,
    stop: ir.Value,
    step: int,
    state: Sequence[Vec],
    body: Callable[[ir.Value, list[Vec]], Sequence[Vec]],
    first: ir.Value | None = None,
) -> tuple[ir.Value, list[Vec]]:
    """A loop: `body` turns the state of step i, from `first` (0) on while i < stop, into that of i + step.

    Returns where it ended, and the state there.
    """
    before, first = b.block, I64(0) if first is None else first
    test, inside, done = (b.append_basic_block(f"repeat_{name}") for name in ("test", "body", "done"))
    b.branch(test)
    b.position_at_end(test)
    i = b.phi(I64)
    now = [b.phi(vec.v.type) for vec in state]
    b.cbranch(b.icmp_signed("<", i, stop), inside, done)
    b.position_at_end(inside)
    following = body(i, [Vec(b, v) for v in now])
    i.add_incoming(first, before)
    i.add_incoming(b.add(i, I64(step)), b.block)
    for phi, vec, new in zip(now, state, following, strict=True):
        phi.add_incoming(vec.v, before)
        phi.add_incoming(new.v, b.block)
    b.branch(test)
    b.position_at_end(done)
    return i, [Vec(b, v) for v in now]


def store(b: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=1)


def opaque(b: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same integer, but the optimiser cannot tell: no instruction comes of it.

    A loop with one in it is not unrolled, and addresses built on it are not derived from each other.
    """
    same = ir.InlineAsm(ir.FunctionType(I64, (I64,)), "", "=r,0", side_effect=False)
    return b.call(same, (value,), attrs=("convergent",))


def memory_barrier(b: ir.IRBuilder) -> None:
    """For the optimiser alone: no load or store moves across, and no instruction comes of it."""
    b.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), ()), "", "~{memory}", side_effect=True), ())


def prefetch(b: ir.IRBuilder, address: ir.Value, locality: int) -> None:
    """Ask for the cache line at `address`."""
    byte = ir.IntType(8).as_pointer()
    fn = b.module.globals.get("llvm.prefetch.p0") or ir.Function(
        b.module, ir.FunctionType(ir.VoidType(), (byte, I32, I32, I32)), "llvm.prefetch.p0"
    )
    b.call(fn, (b.inttoptr(address, byte), I32(0), I32(locality), I32(1)))


def load_vector(b: ir.IRBuilder, address: ir.Value, itemsize: int, width: int = VECTOR_BYTES) -> Vec:
    return Vec(b, load(b, address, ir.VectorType(scalar_type(itemsize), width // itemsize)))


def first_lanes(b: ir.IRBuilder, count: ir.Value, itemsize: int, of: int | None = None) -> ir.Value:
    """Mask of the first `count` lanes of a vector register, or of so many lanes."""
    n = VECTOR_BYTES // itemsize if of is None else of
    width = ir.IntType(8 * itemsize)
    limit = splat(b, b.trunc(count, width) if itemsize == 4 else count, n)
    return b.icmp_signed("<", ir.VectorType(width, n)(list(range(n))), limit)


def load_masked(b: ir.IRBuilder, address: ir.Value, mask: ir.Value, itemsize: int) -> Vec:
    """Load the lanes in `mask` and touch no other; the rest are 0."""
    ty = ir.VectorType(scalar_type(itemsize), mask.type.count)
    name = f"llvm.masked.load.v{ty.count}f{8 * itemsize}.p0"
    fn = b.module.globals.get(name) or ir.Function(
        b.module, ir.FunctionType(ty, (ty.as_pointer(), I32, mask.type, ty)), name
    )
    zero = ty([0.0] * ty.count)
    return Vec(b, b.call(fn, (b.inttoptr(address, ty.as_pointer()), I32(1), mask, zero)))


def store_masked(b: ir.IRBuilder, vec: Vec, address: ir.Value, mask: ir.Value) -> None:
    """Store the lanes in `mask` and touch no other."""
    ty = vec.v.type
    name = f"llvm.masked.store.v{ty.count}f{8 * itemsize_of(vec)}.p0"
    fn = b.module.globals.get(name) or ir.Function(
        b.module, ir.FunctionType(ir.VoidType(), (ty, ty.as_pointer(), I32, mask.type)), name
    )
    b.call(fn, (vec.v, b.inttoptr(address, ty.as_pointer()), I32(1), mask))


def splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    ty = ir.VectorType(value.type, lanes)
    one = b.insert_element(ir.Constant(ty, ir.Undefined), value, I32(0))
    return b.shuffle_vector(one, ir.Constant(ty, ir.Undefined), ir.VectorType(I32, lanes)([0] * lanes))


def load_splat(b: ir.IRBuilder, address: ir.Value, itemsize: int, width: int = VECTOR_BYTES) -> Vec:
    return Vec(b, splat(b, load(b, address, scalar_type(itemsize)), width // itemsize))
