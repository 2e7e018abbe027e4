"""The table of 64-bit integers that describes a call: CALL fields, then LAYER fields for each layer."""

from __future__ import annotations

# -- byte offsets in the table, and from where a layer's fields begin
X, X_ROW, X_COL, OUT, OUT_ROW, OUT_COL, DEPTH = range(0, 56, 8)
#: addresses of kernels
SWEEP, STEPS, LAYER, NARROW_SUMS, STREAMS, RUN_OUTPUTS, RUN_SAMPLES = range(56, 112, 8)
KERNEL_BYTES = 56
W, W_ROW, W_COL, BIAS, FAN_IN, FAN_OUT, ACTIVATION = range(0, 56, 8)
CALL_BYTES = 112
LAYER_BYTES = 56
#: what a program starts with: the same addresses, then those of `run_few`, of PyArray_Empty, and of the work,
#: multiply-adds times the bytes of an element, up to which a call keeps the interpreter lock
P_SWEEP, P_RUN_FEW, P_ARRAY_EMPTY, P_LOCK_HELD, PROGRAM_HEAD = (
    0, KERNEL_BYTES, KERNEL_BYTES + 8, KERNEL_BYTES + 16, KERNEL_BYTES + 24,
)  # fmt: skip
#: what a recipe, a list of objects, holds
DENSE, PROGRAM, SEEN, DTYPE, ARRAY_TYPE, NONE, FALSE, CHECKED, LACKS = range(9)
#: what a call may lack, by number: see `entries.LACKING`
OUTPUTS, SAMPLES, NARROW_LAYERS, LARGE_WEIGHTS, FEW = range(5)
NOTHING = -1

#: what may follow a layer, by number: the field ACTIVATION
IDENTITY, SIGMOID, TANH, RELU, SOFTMAX = range(5)

#: inputs of a chunk: the canonical order of sums, see layer.py
CHUNK = 32
