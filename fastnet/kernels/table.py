"""The table of 64-bit integers that describes a call: CALL fields, then LAYER fields for each layer."""

from __future__ import annotations

# -- byte offsets in the table, and from where a layer's fields begin
X, X_ROW, X_COL, OUT, OUT_ROW, OUT_COL, DEPTH, SWEEP, STEPS, RUN_ROWS = range(0, 80, 8)
W, W_ROW, W_COL, BIAS, FAN_IN, FAN_OUT, ACTIVATION = range(0, 56, 8)
CALL_BYTES = 80
LAYER_BYTES = 56
#: what a program starts with: addresses of sweep, steps, run_rows, run_few and PyArray_Empty
P_SWEEP, P_STEPS, P_RUN_ROWS, P_RUN_FEW, P_ARRAY_EMPTY, PROGRAM_HEAD = range(0, 48, 8)
#: what a recipe, a list of objects, holds
DENSE, PROGRAM, SEEN, DTYPE, ARRAY_TYPE, NONE, FALSE = range(7)

#: what may follow a layer, by number: the field ACTIVATION
IDENTITY, SIGMOID, TANH, RELU, SOFTMAX = range(5)

#: inputs of a chunk: the canonical order of sums, see layer.py
CHUNK = 32
