"""Runs a network again for changes of a part of its input: only what they can reach is computed.

The features of the unchanged volume are kept. For each change and each layer, the part of the layer's output that can
differ is computed from the kept features around it, so the result is that of a full pass but for rounding (Nakandala
et al., Incremental and approximate inference for faster occlusion-based deep CNN explanations, SIGMOD 2019). From the
first operation on that depends on the whole map (a dense layer, a normalisation by statistics of the data), the rest
of the network is run in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from torch import Tensor, fx

from xai_core.canonical.functions import operation

from ._occlusion_geometry import Boxes, Extent, Positions, as_grid, boxes_around
from ._occlusion_kinds import Convolution, Rule, Sliding
from ._occlusion_rules import rule_of

__all__ = ["Changes", "LocalNetwork", "NotLocalError", "paste"]

_LARGEST_BATCH = 16  # more at once is not faster
# The graph may hold the size of the batch, 1, as a number in these.
_SHAPING = ("view", "reshape", "expand")


class NotLocalError(Exception):
    """The network cannot be run for a part of its input; the message says why."""


class Changes(Protocol):
    """Changes of one volume, each inside a box.

    Attributes:
        extent: Where each change lies on the volume's grid.
    """

    extent: Extent

    def crops(self, which: Sequence[int], boxes: Boxes) -> Tensor:
        """Return the volume with each of the changes, inside its box, [B, C, *size]."""


class LocalNetwork:
    """A network with its features of one volume.

    Args:
        network: Graph in canonical form; neither changed nor run in training mode.
        volume: [1, C, D, H, W].

    Attributes:
        output: [1, outputs] for the unchanged volume.

    Raises:
        NotLocalError: No operation can be run for a part only, or the graph holds for one volume at a time.
    """

    def __init__(self, network: fx.GraphModule, volume: Tensor) -> None:
        self._network = network
        self._nodes = [node for node in network.graph.nodes if node.op != "output"]
        self._rules: dict[fx.Node, Rule] = {}
        self._kept: dict[fx.Node, Any] = {}
        self._shapes: dict[fx.Node, tuple[int, ...]] = {}
        self._varying: set[fx.Node] = set()
        self._free_after = _last_uses(network.graph)
        (self._result,) = network.graph.output_node().all_input_nodes
        for node in self._nodes:
            _check_not_in_place(node, network)
        self._observe(volume)
        if not any(isinstance(rule, Sliding | Convolution) for rule in self._rules.values()):
            raise NotLocalError("none of its operations acts on a neighbourhood of the volume")
        self.output: Tensor = self._kept[self._result]

    def batch_size(self, changes: Changes, max_batch: int) -> int:
        """Return how many changes take the memory of ``max_batch`` full passes: at least that many, else at most 16."""
        boxes = self._boxes(changes.extent)
        full = part = 0
        for node, shape in self._shapes.items():
            size = int(np.prod(shape))
            full += size
            part += shape[1] * int(np.prod(boxes[node].size)) if node in boxes else size
        return max(max_batch, min(max_batch * full // part, _LARGEST_BATCH))

    def in_order(self, changes: Changes, which: Positions) -> Positions:
        """Return changes that reach as far next to each other: a batch computes boxes of its largest size."""
        extents = self._extents(Extent(changes.extent.first[which], changes.extent.last[which]))
        sizes = sum(np.maximum(each.last - each.first, 0) for each in extents.values())
        return which[np.lexsort(np.asarray(sizes).T)]

    def outputs(self, changes: Changes, which: Sequence[int]) -> Tensor:
        """Return the network's outputs [B, outputs] for some of the changes."""
        rows = np.asarray(which)
        boxes = self._boxes(Extent(changes.extent.first[rows], changes.extent.last[rows]))
        values: dict[fx.Node, Any] = {}
        for node in self._nodes:
            if node not in self._varying:
                continue
            if node.op == "placeholder":
                values[node] = changes.crops(which, boxes[node])
            elif node in self._rules:
                sources = [self._source(source, values, boxes) for source in node.all_input_nodes]
                values[node] = self._rules[node].compute(sources, boxes[node])
            else:
                values[node] = self._run(node, self._whole_inputs(node, values, boxes, len(which)))
            for done in self._free_after.get(node, ()):
                values.pop(done, None)
        return cast(Tensor, values[self._result])

    def _observe(self, volume: Tensor) -> None:
        """Run the network on the unchanged volume; find the rules; keep the features that will be read."""
        values: dict[fx.Node, Any] = {}
        for node in self._nodes:
            values[node] = volume if node.op == "placeholder" else self._run(node, values)
            if node.op == "placeholder" or any(source in self._varying for source in node.all_input_nodes):
                self._varying.add(node)
                self._classify(node, values)
            else:
                self._kept[node] = values[node]
            for done in self._free_after.get(node, ()):
                values.pop(done)
        self._kept[self._result] = values[self._result]

    def _classify(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        if isinstance(values[node], Tensor):
            self._shapes[node] = tuple(values[node].shape)
            if len(values[node]) != 1:
                raise NotLocalError(f"{node} mixes the batch with another axis")
        sources = node.all_input_nodes
        local = all(source in self._rules or source.op == "placeholder" for source in sources)
        rule = rule_of(node, self._network, values) if sources and local else None
        if rule is not None:
            self._rules[node] = rule
        for source in sources:
            is_local = source in self._rules or source.op == "placeholder"
            if is_local and source in self._varying and (rule is None or rule.reads_beyond):
                self._kept[source] = values[source]

    def _boxes(self, extent: Extent) -> dict[fx.Node, Boxes]:
        """Return for each local node what is computed again."""
        extents = self._extents(extent)
        return {node: boxes_around(reached, as_grid(self._shapes[node][2:])) for node, reached in extents.items()}

    def _extents(self, extent: Extent) -> dict[fx.Node, Extent]:
        """Return for each local node what the changes reach."""
        extents: dict[fx.Node, Extent] = {}
        for node in self._nodes:
            if node.op == "placeholder":
                extents[node] = extent
            elif node in self._rules:
                sources = [extents[source] for source in node.all_input_nodes]
                extents[node] = self._rules[node].affected(sources, as_grid(self._shapes[node][2:]))
        return extents

    def _source(self, node: fx.Node, values: dict[fx.Node, Any], boxes: dict[fx.Node, Boxes]) -> _Map:
        return _Map(values[node], boxes[node], self._kept.get(node))

    def _whole_inputs(
        self, node: fx.Node, values: dict[fx.Node, Any], boxes: dict[fx.Node, Boxes], batch: int
    ) -> dict[fx.Node, Any]:
        """Return what an operation that is run in full takes, each with its new part put in."""
        found = {}
        for source in node.all_input_nodes:
            if source not in self._varying:
                found[source] = self._kept[source]
            elif source in boxes:
                grid = as_grid(self._shapes[source][2:])
                everything = Boxes(np.zeros((batch, 3), np.int64), grid)
                found[source] = self._source(source, values, boxes).crop(everything)
            else:
                found[source] = values[source]
        return found

    def _run(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args: Any = fx.node.map_arg(node.args, values.__getitem__)
        kwargs: Any = fx.node.map_arg(node.kwargs, values.__getitem__)
        if node in self._shapes and operation(node) in _SHAPING:
            return getattr(args[0], cast(str, operation(node)))((-1, *self._shapes[node][1:]))
        if node.op == "call_module":
            return self._network.get_submodule(cast(str, node.target))(*args, **kwargs)
        if node.op == "call_function":
            return cast(Any, node.target)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], cast(str, node.target))(*args[1:], **kwargs)
        value: Any = self._network  # get_attr
        for name in cast(str, node.target).split("."):
            value = getattr(value, name)
        return value


class _Map:
    """A feature map of which a part was computed again; see ``_occlusion_kinds.Source``.

    Args:
        new: [B, C, *size], the part.
        boxes: Where it lies.
        kept: [1, C, d, h, w] without the change; None where nothing outside of the boxes is read.
    """

    def __init__(self, new: Tensor, boxes: Boxes, kept: Tensor | None) -> None:
        self.boxes = boxes
        self._new = new
        self._kept = kept

    def crop(self, boxes: Boxes, fill: float = 0.0) -> Tensor:
        """Return the map in these boxes."""
        if boxes.size == self.boxes.size and bool((boxes.start == self.boxes.start).all()):
            return self._new
        assert self._kept is not None
        result = self._new.new_full((*self._new.shape[:2], *boxes.size), fill)
        starts, own = boxes.start.tolist(), self.boxes.start.tolist()
        for row, new, start, begin in zip(result, self._new, starts, own, strict=True):
            paste(row, start, self._kept[0], (0, 0, 0))
            paste(row, start, new, begin)
        return result

    def before(self) -> Tensor:
        """Return what was in the map's own boxes."""
        assert self._kept is not None
        result = self._new.new_empty((*self._new.shape[:2], *self.boxes.size))
        for row, start in zip(result, self.boxes.start.tolist(), strict=True):
            paste(row, start, self._kept[0], (0, 0, 0))
        return result


def paste(target: Tensor, target_start: Sequence[int], source: Tensor, source_start: Sequence[int]) -> None:
    """Copy where they overlap from ``source`` [C, d, h, w] to ``target`` [C, D, H, W], both on one grid."""
    to, of = [slice(None)], [slice(None)]
    for axis in range(3):
        a, b = target_start[axis], source_start[axis]
        first, last = max(a, b), min(a + target.shape[axis + 1], b + source.shape[axis + 1])
        if last <= first:
            return
        to.append(slice(first - a, last - a))
        of.append(slice(first - b, last - b))
    target[tuple(to)] = source[tuple(of)]


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Return for each node the nodes that are not needed after it."""
    position = {node: index for index, node in enumerate(graph.nodes)}
    result: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.users:
            result.setdefault(max(node.users, key=position.__getitem__), []).append(node)
    return result


def _check_not_in_place(node: fx.Node, network: fx.GraphModule) -> None:
    """Refuse what would write into the features that are kept."""
    if node.op == "call_module":
        in_place = bool(getattr(network.get_submodule(cast(str, node.target)), "inplace", False))
    else:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        in_place = name.startswith("i") and name[1:] in ("add", "sub", "mul", "truediv")
        in_place = in_place or (name.endswith("_") and not name.endswith("__")) or bool(node.kwargs.get("inplace"))
    if in_place and node.op != "placeholder":
        raise NotLocalError(f"{node} works in place")
