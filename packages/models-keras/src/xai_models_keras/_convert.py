"""Turns a graph of Keras layers into the description of a torch network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._activation import activation, elu, leaky_relu, prelu, relu, softmax
from ._convolution import convolution, dense, transposed
from ._emit import Emitter, Value, first
from ._expand import Graph
from ._layer import File, Layer
from ._norm import batch_norm, group_norm, instance_norm, normalization, rescaling
from ._pooling import cropping, global_pooling, pooling, upsampling, zero_padding
from ._shape import concatenate, dropout, flatten, identity, merge, permute, reshape, spatial_dropout

__all__ = ["FORMAT", "convert"]

FORMAT = 1

_NESTED = (
    "it has a model as a layer; iNNvestigate hands the gradient through one as a whole, while the explainers here "
    "apply their rules to the layers in it, so LRP and guided backpropagation differ from its maps"
)

# Dropout after the final softmax, which some have, goes with it.
_IDLE = ("Identity", "Dropout", "AlphaDropout", "Dropout1d", "Dropout2d", "Dropout3d")

Handler = Callable[[Emitter, Layer, list[Value]], Value]

_MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
_HANDLERS: Mapping[str, Handler] = {
    "Dense": dense,
    "Activation": activation,
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "PReLU": prelu,
    "ELU": elu,
    "Softmax": softmax,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "Dropout": dropout,
    "AlphaDropout": dropout,
    "GaussianNoise": identity,
    "GaussianDropout": identity,
    "Concatenate": concatenate,
    "BatchNormalization": batch_norm,
    "GroupNormalization": group_norm,
    "Addons>GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "Addons>InstanceNormalization": instance_norm,
    "Rescaling": rescaling,
    "Normalization": normalization,
    **dict.fromkeys(_MERGES, merge),
    **{
        f"{name}{n}D{end}": handler
        for n in (1, 2, 3)
        for name, end, handler in (
            ("Conv", "", convolution),
            ("Conv", "Transpose", transposed),
            ("MaxPooling", "", pooling),
            ("AveragePooling", "", pooling),
            ("GlobalMaxPooling", "", global_pooling),
            ("GlobalAveragePooling", "", global_pooling),
            ("ZeroPadding", "", zero_padding),
            ("Cropping", "", cropping),
            ("UpSampling", "", upsampling),
            ("SpatialDropout", "", spatial_dropout),
        )
    },
}
_SEVERAL = (*_MERGES, "Concatenate", "Softmax")
# What does the same to each feature, so that their order does not matter.
_ORDERLESS = (
    "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "Dropout", "AlphaDropout", "GaussianNoise", "GaussianDropout",
    "Rescaling", "BatchNormalization",
)  # fmt: skip


def convert(file: File, graph: Graph, shapes: Sequence[tuple[int, ...]]) -> tuple[dict[str, Any], Emitter]:
    """Return the description of a network and what it was made with (weights and notes).

    Args:
        file: Where the network comes from.
        graph: Its layers.
        shapes: Of its inputs, channels last.

    Raises:
        InputError: A layer is not known, or its parameters, weights and inputs do not fit each other.
    """
    emit = Emitter(late=_late(graph))
    values: dict[int, Value] = {}
    for (layer, number), shape in zip(graph.inputs, shapes, strict=True):
        values[number] = emit.input(layer, shape)
    inputs = [{"name": values[number].node, "shape": list(first(values[number].shape))} for _, number in graph.inputs]
    for call in graph.calls:
        given = [values[number] for number in call.inputs]
        values[call.output] = _handled(emit, call.layer, given)
        emit.ends(values[call.output])
    if any(len(call.layer.path) > 1 for call in graph.calls):
        emit.notes.append(_NESTED)
    outputs = [_output(emit, _in_order(emit, graph, number, values[number])) for number in graph.outputs]
    _prune(emit, [each["node"] for each in outputs])
    description = {
        "format": FORMAT, "keras": file.version, "inputs": inputs, "modules": emit.modules, "buffers": emit.buffers,
        "nodes": emit.nodes, "outputs": outputs, "notes": emit.notes,
    }  # fmt: skip
    return description, emit


def _handled(emit: Emitter, layer: Layer, inputs: list[Value]) -> Value:
    handler = _HANDLERS.get(layer.kind)
    if handler is None:
        code = (
            " It holds code, which is never run." if layer.kind in ("Lambda", "TFOpLambda", "SlicingOpLambda") else ""
        )
        layer.fail(f"layers of the class {layer.kind} cannot be read.{code} Replace it in Keras by layers that can.")
    if len(inputs) > 1 and layer.kind not in _SEVERAL:
        layer.fail(f"has {len(inputs)} inputs; one was expected.")
    _check_type(emit, layer)
    found = handler(emit, layer, inputs)
    if layer.weights and not layer.used:
        layer.fail(f"the file holds {len(layer.weights)} weights for it, but such a layer has none.")
    return found


def _check_type(emit: Emitter, layer: Layer) -> None:
    stored = layer.config.get("dtype")
    inner = stored.get("config") if isinstance(stored, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else stored
    if isinstance(stored, Mapping) and "Quantized" in str(stored.get("class_name")):
        layer.fail("is quantized, which is not supported.")
    if isinstance(name, str) and "16" in name:
        note = f"the network was trained in {name[:40]}; here it computes in float32"
        if note not in emit.notes:
            emit.notes.append(note)


def _late(graph: Graph) -> set[int]:
    """Return the layers (by id) that flatten maps for dense layers alone, whose weights can be reordered instead."""
    users: dict[int, list[tuple[Layer, int]]] = {}
    for call in graph.calls:
        for number in call.inputs:
            users.setdefault(number, []).append((call.layer, call.output))

    def only_dense(number: int) -> bool:
        stack = [number]
        while stack:
            here = stack.pop()
            if here in graph.outputs:
                return False
            for layer, output in users.get(here, []):
                weighted = layer.kind in ("Dense", "BatchNormalization")
                if (weighted and layer.calls > 1) or layer.kind not in ("Dense", *_ORDERLESS):
                    return False
                if layer.kind != "Dense":
                    stack.append(output)
        return True

    flattening = [call for call in graph.calls if call.layer.kind in ("Flatten", "Reshape")]
    return {id(call.layer) for call in flattening if call.layer.calls == 1 and only_dense(call.output)}


def _in_order(emit: Emitter, graph: Graph, number: int, value: Value) -> Value:
    layer = next((call.layer for call in graph.calls if call.output == number), None)
    return value if layer is None else emit.ordered(layer, value)


def _output(emit: Emitter, value: Value) -> dict[str, Any]:
    """Describe an output, without the softmax or the sigmoid that makes a probability of a logit."""
    found = {"node": value.node, "shape": list(first(value.shape)), "final_activation": None}
    by_name = {node["name"]: node for node in emit.nodes}
    node = by_name[value.node]
    while (module := emit.modules.get(node.get("module", ""))) and module["class"] in _IDLE:
        node = by_name[node["inputs"][0]]
    if module is None:
        return found
    over_channels = (
        module["class"] in ("Softmax", "LogSoftmax") and module["params"]["dim"] == 1 and value.shape[-1] > 1
    )
    if over_channels or (module["class"] == "Sigmoid" and value.shape == (1,)):
        found |= {"node": node["inputs"][0], "final_activation": module["class"].lower()}
    return found


def _prune(emit: Emitter, ends: list[str]) -> None:
    """Take away what no output needs: a final activation, say. Inputs stay, so that their order does."""
    needed = set(ends)
    for node in reversed(emit.nodes):
        if node["name"] in needed:
            needed.update(node["inputs"])
    emit.nodes = [node for node in emit.nodes if node["name"] in needed or "input" in node]
    modules = {node.get("module") for node in emit.nodes}
    buffers = {node.get("buffer") for node in emit.nodes}
    emit.modules = {name: value for name, value in emit.modules.items() if name in modules}
    emit.buffers = {name: value for name, value in emit.buffers.items() if name in buffers}
    kept = modules | buffers
    emit.state = {key: value for key, value in emit.state.items() if key in kept or key.rsplit(".", 1)[0] in kept}
