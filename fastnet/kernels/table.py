"""The table of 64-bit integers that describes a call: CALL fields, then LAYER fields for each layer."""

from __future__ import annotations

# -- byte offsets in the table, and from where a layer's fields begin
X, X_ROW, X_COL, OUT, OUT_ROW, OUT_COL, DEPTH, SWEEP, RUN_ROWS = range(0, 72, 8)
W, W_ROW, W_COL, BIAS, FAN_IN, FAN_OUT, ACTIVATION = range(0, 56, 8)
CALL_BYTES = 72
LAYER_BYTES = 56
#: what a program starts with: the addresses of sweep, run_rows and PyArray_Empty
PROGRAM_HEAD = 24
#: what a recipe, a list of objects, holds
DENSE, PROGRAM, SEEN, DTYPE, ARRAY_TYPE, NONE, FALSE = range(7)

#: what may follow a layer, by number: the field ACTIVATION
IDENTITY, SIGMOID, TANH, RELU, SOFTMAX = range(5)
