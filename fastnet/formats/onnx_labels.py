"""The ends of skl2onnx's classifiers: labels beside probabilities, from the last layer's output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastnet.formats.onnx_graph import Graph
from fastnet.formats.parts import text_array

#: what may stand behind the last layer of a classifier
_KNOWN = {
    *("ArgMax", "ai.onnx.ml.ArrayFeatureExtractor", "ai.onnx.ml.ZipMap"),
    *("Cast", "Concat", "Identity", "Reshape", "Sub"),
}
_HINT = "convert with options={'zipmap': False}, or keep the output of probabilities alone"


class Labels(NamedTuple):
    """Where the probabilities are computed, and which class each of them belongs to."""

    probabilities: str
    classes: Any


def find_labels(graph: Graph) -> Labels | None:
    """How the model gets its labels, or None if it has none.

    Raises
    ------
    ValueError
        If it has, but not in the way of a multi-layer perceptron written by skl2onnx.
    """
    by_operator: dict[str, list[Any]] = {}
    for node in graph.nodes:
        by_operator.setdefault(graph.operator(node), []).append(node)
    for node in by_operator.get("ai.onnx.ml.Binarizer", []):
        raise graph.refusal(node, "several labels at a time; keep the output before it, or use from_sklearn")
    maps = by_operator.get("ai.onnx.ml.ZipMap", [])
    picks = by_operator.get("ai.onnx.ml.ArrayFeatureExtractor", [])
    if not maps and not picks:
        return None
    for nodes in (maps, picks):
        if len(nodes) > 1:
            raise graph.refusal(nodes[0], f"{len(nodes)} of them; {_HINT}")
    found = [_of_map(graph, node) for node in maps] + [_of_pick(graph, node) for node in picks]
    ends = {_network_end(graph, labels.probabilities) for labels in found}
    if len(ends) != 1:
        raise graph.refusal((maps + picks)[0], f"labels and probabilities of different layers; {_HINT}")
    classes = found[0].classes
    if any(not np.array_equal(labels.classes, classes) for labels in found):
        raise graph.refusal(maps[0], f"other classes than those of the labels; {_HINT}")
    end = ends.pop()
    on_path = {id(node) for node, _ in graph.path(end)}
    for node in graph.nodes:
        behind = id(node) not in on_path and not all(map(graph.is_constant, node.output))
        if behind and graph.operator(node) not in _KNOWN:
            raise graph.refusal(node, f"not supported behind the last layer; {_HINT}")
    return Labels(end, classes)


def _of_map(graph: Graph, node: Any) -> Labels:
    """A dictionary for every row, from class to probability."""
    attributes = graph.attributes(node)
    if "classlabels_strings" in attributes:
        classes = text_array([label.decode() for label in attributes["classlabels_strings"]])
    elif "classlabels_int64s" not in attributes:
        raise graph.refusal(node, "without classes")
    else:
        classes = np.array(attributes["classlabels_int64s"], np.int64)
    return Labels(node.input[0], classes)


def _of_pick(graph: Graph, node: Any) -> Labels:
    """classes[argmax(probabilities)]."""
    classes, best = graph.constant(node.input[0]), graph.producers.get(node.input[1])
    if classes is None or best is None or graph.operator(best) != "ArgMax":
        raise graph.refusal(node, f"not the label of the largest probability; {_HINT}")
    settings = {"axis": 0, "select_last_index": 0, **graph.attributes(best)}
    if settings["axis"] not in (1, -1) or settings["select_last_index"]:
        raise graph.refusal(best, f"not the first of the largest probabilities in a row; {_HINT}")
    if classes.dtype.kind in "iu":
        return Labels(best.input[0], classes.astype(np.int64).reshape(-1))
    if classes.dtype.kind == "O":
        return Labels(best.input[0], text_array([_text(label) for label in classes.reshape(-1)]))
    raise graph.refusal(node, f"classes of dtype {classes.dtype}, neither integers nor strings")


def _text(label: Any) -> Any:
    return label.decode() if isinstance(label, bytes) else label


def _network_end(graph: Graph, probabilities: str) -> str:
    """Where the last layer puts out: before [1 - p, p] of two classes, and what changes nothing."""
    node = graph.producers.get(probabilities)
    if node is not None and graph.operator(node) == "Identity":
        return _network_end(graph, node.input[0])
    if node is None or graph.operator(node) != "Concat":
        return probabilities
    if len(node.input) == 2 and graph.attributes(node)["axis"] in (1, -1):
        second: str = node.input[1]
        complement = graph.producers.get(node.input[0])
        if complement is not None and graph.operator(complement) == "Sub" and complement.input[1] == second:
            one = graph.constant(complement.input[0])
            if one is not None and one.size == 1 and one.item() == 1:
                return second
    raise graph.refusal(node, f"not the probabilities of two classes; {_HINT}")
