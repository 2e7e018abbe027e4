"""How a call would run: the planner's choices, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnet import fused
from fastnet.arguments import Prepared, prepare
from fastnet.network import runs_of
from fastnet.steps import fused_steps
from fastnet.threads import get_num_threads, piece_rows, strip_threads

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


class Plan(NamedTuple):
    """How layers that run as one would run. Printed, it is a line."""

    layers: str
    #: of the arithmetic; empty where no kernel applies
    dtype: str
    #: "samples in lanes" or "outputs in lanes"; else who runs the layers instead
    orientation: str
    #: of the largest register tile: rows, vectors, elements of a vector
    tile: tuple[int, int, int]
    #: rows that go through all these layers together
    block: int
    #: of each layer: "broadcast", or "in place", "streamed", "packed" or "transposed"
    weights: tuple[str, ...]
    threads: int
    #: what the threads share out: "rows" or "columns"
    shared: str
    #: rows that a thread takes at a time
    piece: int
    #: multiply-adds asked for over those done in whole vectors: no more of the machine's peak can be reached
    share: float

    def __str__(self) -> str:
        if not self.dtype:
            return f"{self.layers}: {self.orientation}"
        rows, vectors, lanes = self.tile
        return (
            f"{self.layers}, {self.dtype}: {self.orientation}, "
            f"tiles of {rows} x {vectors} vectors of {lanes}, blocks of {self.block} rows, "
            f"weights {', '.join(self.weights)}, "
            f"{self.threads} thread(s) x {self.piece} rows{', columns shared' * (self.shared == 'columns')}, "
            f"{self.share:.0%} of the arithmetic used"
        )


def explain(model: Any, batch: int, dtype: DTypeLike = np.float64) -> list[Plan]:
    """Say how a call would run: orientation, tile, block, how weights are read, threads, and what is wasted.

    Parameters
    ----------
    model : network or layer
        As it is now; nothing of it is computed.
    batch : int
        Number of rows.
    dtype : dtype, optional
        Of the rows.

    Returns
    -------
    list of Plan
        One for each run of layers that is one compiled call, and for each layer that is not.

    Raises
    ------
    ValueError
        If `batch` is negative.

    Examples
    --------
    >>> import fastnet
    >>> [plan] = fastnet.explain(fastnet.TwoLayerNet(2, 4, 3), 1000)
    >>> plan.layers, plan.orientation
    ('2-4-3', 'samples in lanes')
    """
    if batch < 0:
        raise ValueError(f"batch must not be negative, not {batch}")
    plans = []
    for run in runs_of(getattr(model, "layers", [model])):
        steps = fused_steps(run)
        pairs = [[*layer.params] for layer, _ in steps]
        weights = [W for W, _ in pairs]  # a ValueError of params that are no pair, as from `predict`
        ready = None
        if steps and np.ndim(weights[0]) == 2:
            ready = prepare(pairs, np.zeros((1, np.shape(weights[0])[0]), dtype))
        if ready is None:
            by = "NumPy reference, layer by layer" if steps else "its own forward"
            plans.append(_not_compiled(run, by))
            continue
        limit = fused.kernels(ready.dtype).max_depth
        for start in range(0, len(pairs), limit):
            part = ready._replace(layers=ready.layers[start : start + limit])
            plans.append(_plan(part, batch, [activation for _, activation in steps[start : start + limit]]))
    return plans


def _not_compiled(run: list[Any], by: str) -> Plan:
    names = ", ".join(type(layer).__name__ for layer in run)
    return Plan(names, "", by, (0, 0, 0), 0, (), 1, "rows", 0, 0.0)


def _share(sizes: list[tuple[int, int]], batch: int, piece: int, lanes: int, by_samples: bool) -> float:
    """Lanes to spare are in a piece's last vector where they hold samples, else in each layer's last."""
    if by_samples:
        pieces, rest = divmod(max(batch, 1), piece)
        return max(batch, 1) / (pieces * _whole(piece, lanes) + _whole(rest, lanes))
    asked = sum(fan_in * fan_out for fan_in, fan_out in sizes)
    done = sum(fan_in * _whole(fan_out, lanes) for fan_in, fan_out in sizes)
    return asked / done if done else 1.0


def _whole(count: int, lanes: int) -> int:
    """The lanes of as many vectors as hold so many elements."""
    return -(-count // lanes) * lanes


def _plan(ready: Prepared, batch: int, activations: list[int]) -> Plan:
    from fastnet.kernels import plan, table, target, ways

    compiled, zero = fused.kernels(ready.dtype), ready.dtype.type(0)
    sizes = [holder.params[0].shape for holder in ready.layers]
    x, out = (np.broadcast_to(zero, (batch, width)) for width in (sizes[0][0], sizes[-1][1]))
    fields = compiled.new_table()
    work = compiled.bind(x, out, ready.layers, compiled.program(activations), fields)
    work *= ready.dtype.itemsize
    fields[table.X_ROW // 8] = sizes[0][0] * ready.dtype.itemsize  # as rows of x usually lie
    piece = min(piece_rows(batch, work, get_num_threads()), max(batch, 1))
    threads = min(get_num_threads(), -(-batch // piece)) or 1
    by_columns = strip_threads(batch, work) if batch else 1
    if by_columns > 1:
        threads, piece = by_columns, batch
    last = batch - piece if batch else 0, max(batch, 1)  # rows: of the last piece
    choices = [plan.explained(zero, fields.ctypes.data, *last, i) for i in range(len(sizes))]
    by_samples, block = bool(choices[0][0]), choices[0][1]
    lanes = target.VECTOR_BYTES // ready.dtype.itemsize
    deep = all(fan_in > table.CHUNK for fan_in, _ in sizes)
    vectors = target.HELD_VECTORS if deep else target.PANEL_VECTORS
    least = lanes // 2 if target.PART_BYTES and not by_samples else lanes  # that are computed together
    reading = {
        ways.IN_PLACE: "in place",
        ways.STREAMED: "streamed",
        ways.STRADDLING: "streamed",
        ways.PACKED: "packed",
        ways.TURNED: "transposed",
        ways.NARROWLY: "broadcast",  # the samples are in the lanes for once
    }
    return Plan(
        "-".join(str(n) for n in (sizes[0][0], *(fan_out for _, fan_out in sizes))),
        ready.dtype.name,
        "samples in lanes" if by_samples else "outputs in lanes",
        (target.TILE_ROWS, vectors, lanes),
        block,
        tuple("broadcast" if by_samples else reading[way] for _, _, way in choices),
        threads,
        "columns" if by_columns > 1 else "rows",
        piece,
        _share(sizes, batch, piece, least, by_samples),
    )
