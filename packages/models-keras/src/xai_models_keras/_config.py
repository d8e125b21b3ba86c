"""Reads the stored configuration of a model, of any Keras version, into one form.

Keras 2 lists the calls of a layer as ``[[name, call, output, keywords], ...]``, Keras 3 as arguments in which
``__keras_tensor__`` stands for a tensor; a ``Sequential`` model lists none. All three become lists of ``Ref``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

from ._layer import File, Layer

__all__ = ["MODELS", "Model", "Ref", "model_of"]

MODELS = ("Functional", "Model", "Sequential")
_MOST_LAYERS = 10_000
_DEEPEST = 16
_OWN_PACKAGES = ("keras", "tf_keras", "tensorflow")
_ADDONS = ("Addons>InstanceNormalization", "Addons>GroupNormalization")
_ALIASES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    **{f"Convolution{n}D": f"Conv{n}D" for n in (1, 2, 3)},
    "Convolution3DTranspose": "Conv3DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose",
    **{f"GlobalMaxPool{n}D": f"GlobalMaxPooling{n}D" for n in (1, 2, 3)},
    **{f"GlobalAvgPool{n}D": f"GlobalAveragePooling{n}D" for n in (1, 2, 3)},
    **{f"MaxPool{n}D": f"MaxPooling{n}D" for n in (1, 2, 3)},
    **{f"AvgPool{n}D": f"AveragePooling{n}D" for n in (1, 2, 3)},
}


@dataclass(frozen=True)
class Ref:
    """One output of one call of a layer."""

    layer: str
    call: int
    output: int


@dataclass
class Model:
    """A model: layers, and models as layers.

    Attributes:
        file: Where it comes from.
        path: Its name, below those of the models that it lies in; empty for the outermost.
        kind: The class.
        layers: By name, in the stored order.
        arguments: For each layer the inputs of each of its calls.
        inputs: Outputs of its input layers.
        outputs: What it returns.
        trainable: As stored; decides the order of a nested model's weights.
        synthetic: Whether its input layer is not in the file.
    """

    file: File
    path: tuple[str, ...]
    kind: str
    layers: dict[str, Layer | Model] = field(default_factory=dict)
    arguments: dict[str, list[list[Ref]]] = field(default_factory=dict)
    inputs: list[Ref] = field(default_factory=list)
    outputs: list[Ref] = field(default_factory=list)
    trainable: bool = True
    synthetic: bool = False

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"model {'/'.join(self.path)!r} ({self.kind})" if self.path else f"the model ({self.kind})"

    def fail(self, message: str) -> NoReturn:
        """Raise an ``InputError`` that names file and model."""
        self.file.fail(f"{self.label}: {message}")


def model_of(file: File, stored: Any, path: tuple[str, ...] = (), outer: Mapping[str, Any] | None = None) -> Model:
    """Return the model that a stored configuration describes.

    Args:
        file: For messages.
        stored: ``{"class_name": ..., "config": ...}``.
        path: Name of the model, below those that it lies in.
        outer: The entry of the layer list that it comes from, if any.

    Raises:
        InputError: The configuration is not whole, or asks for code that is not Keras' own.
    """
    if len(path) > _DEEPEST:
        file.fail(f"models lie in each other more than {_DEEPEST} deep.")
    where = "/".join(path) or "the model"
    kind = _kind(file, stored, where)
    if kind not in MODELS:
        file.fail(
            f"{where} is of the class {kind!r}, which is not known. Only models of the classes {', '.join(MODELS)} say "
            "in the file what they compute; save the network as one of them."
        )
    config = stored.get("config")
    if isinstance(config, list) and kind == "Sequential":  # before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list) or not config["layers"]:
        file.fail(f"{where} ({kind}): its configuration lists no layers.")
    if len(config["layers"]) > _MOST_LAYERS:
        file.fail(f"{where} ({kind}): has {len(config['layers'])} layers; at most {_MOST_LAYERS} are read.")
    model = Model(file, path, kind, trainable=config.get("trainable") is not False)
    entries = [_add(model, entry) for entry in config["layers"]]
    if kind == "Sequential":
        _chain(model, config, {**stored, **(outer or {})})
    else:
        for (name, layer), entry in zip(model.layers.items(), entries, strict=True):
            model.arguments[name] = _calls(layer, entry.get("inbound_nodes", []))
        model.inputs = _ends(model, config, "input_layers")
        model.outputs = _ends(model, config, "output_layers")
    return model


def _kind(file: File, entry: Any, where: str) -> str:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("class_name"), str):
        file.fail(f"{where}: its description is damaged; it names no class.")
    kind = str(entry["class_name"])
    package, registered = entry.get("module"), entry.get("registered_name")
    if kind in _ADDONS or registered in _ADDONS:
        return f"Addons>{kind.removeprefix('Addons>')}"
    foreign = package is not None and (not isinstance(package, str) or package.split(".")[0] not in _OWN_PACKAGES)
    if foreign or (registered is not None and registered != kind):
        code = package if foreign else registered
        file.fail(
            f"layer {_name_of(entry) or where!r} ({kind}): its code is not Keras' own ({str(code)[:80]}) and is not in "
            "the file. Only Keras' own layers can be read; replace it by some of these."
        )
    if isinstance(package, str) and ".ops" in package:
        file.fail(
            f"layer {_name_of(entry) or where!r} ({kind}): is a bare operation ({package}.{kind}), not a layer. Write "
            "it as a layer (keras.layers.Add, say, in place of +)."
        )
    return _ALIASES.get(kind, kind)


def _name_of(entry: Mapping[str, Any]) -> str | None:
    config = entry.get("config")
    for name in (entry.get("name"), config.get("name") if isinstance(config, Mapping) else None):
        if isinstance(name, str) and name:
            return name
    return None


def _add(model: Model, entry: Any) -> Mapping[str, Any]:
    index = len(model.layers)
    kind = _kind(model.file, entry, f"layer {index} of {model.label}")
    config, name = entry.get("config"), _name_of(entry)
    if kind in MODELS and name is None:
        name = f"{kind.lower()}_{index}"
    if name is None:
        model.fail(f"layer {index} ({kind}) has no name.")
    if name in model.layers:
        model.fail(f"two layers have the name {name!r}.")
    path = (*model.path, name)
    if kind in MODELS:
        model.layers[name] = model_of(model.file, entry, path, entry)
    elif not isinstance(config, Mapping):
        model.fail(f"layer {name!r} ({kind}) has no configuration.")
    else:
        model.layers[name] = Layer(model.file, path, kind, config)
    found: Mapping[str, Any] = entry
    return found


def _chain(model: Model, config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Connect the layers of a sequential model, and give it an input layer where the file has none."""
    first = next(iter(model.layers.values()))
    if not (isinstance(first, Layer) and first.kind == "InputLayer"):
        model.synthetic = True
        layer = Layer(model.file, (*model.path, "input"), "InputLayer", {"batch_shape": _shape(first, config, stored)})
        free = next(name for name in ("input", "input_", "input__") if name not in model.layers)
        model.layers = {free: layer, **model.layers}
    names = list(model.layers)
    model.arguments[names[0]] = [[]]
    model.arguments |= {name: [[Ref(last, 0, 0)]] for last, name in pairwise(names)}
    model.inputs, model.outputs = [Ref(names[0], 0, 0)], [Ref(names[-1], 0, 0)]


def _shape(first: Layer | Model, config: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
    build = stored.get("build_config")
    places: list[Any] = [
        config.get("build_input_shape"),
        build.get("input_shape") if isinstance(build, Mapping) else None,
    ]
    while isinstance(first, Model):
        first = next(iter(first.layers.values()))
    places = [first.config.get("batch_input_shape"), first.config.get("batch_shape"), *places]
    return next((shape for shape in places if shape is not None), None)


def _calls(layer: Layer | Model, nodes: Any) -> list[list[Ref]]:
    if isinstance(layer, Layer) and layer.kind == "InputLayer":
        return [[]]
    if not isinstance(nodes, list):
        layer.fail("its connections (inbound_nodes) are damaged.")
    return [list(_arguments(layer, node)) for node in nodes]


def _arguments(layer: Layer | Model, node: Any) -> Iterator[Ref]:
    if isinstance(node, Mapping):
        _check_keywords(layer, node.get("kwargs", {}))
        yield from _tensors(layer, node.get("args"))
        return
    if not isinstance(node, list):
        layer.fail("its connections (inbound_nodes) are damaged.")
    for each in [node] if node and isinstance(node[0], str) else node:
        if isinstance(each, list) and len(each) == 4:
            _check_keywords(layer, each[3])
        yield _ref(layer, each)


def _tensors(layer: Layer | Model, value: Any) -> Iterator[Ref]:
    """Find Keras 3's tensors among the arguments of a call."""
    if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        yield _ref(layer, config.get("keras_history") if isinstance(config, Mapping) else None)
    elif isinstance(value, list):
        for each in value:
            yield from _tensors(layer, each)
    else:
        layer.fail("is called with something that is not the output of a layer, which is not supported.")


def _ref(layer: Layer | Model, value: Any) -> Ref:
    whole = isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str)
    if not whole or not all(type(number) is int and number >= 0 for number in value[1:3]):
        layer.fail("its connections (inbound_nodes) are damaged, or it is called with a constant.")
    return Ref(value[0], value[1], value[2])


def _check_keywords(layer: Layer | Model, keywords: Any) -> None:
    if not isinstance(keywords, Mapping):
        layer.fail("its connections (inbound_nodes) are damaged.")
    given = [key for key, value in keywords.items() if not (_nothing(value) or (key == "training" and value is False))]
    if given:
        layer.fail(f"is called with {', '.join(map(str, given))}=..., which is not supported.")


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(each is None for each in value))


def _ends(model: Model, config: Mapping[str, Any], key: str) -> list[Ref]:
    stored = config.get(key)
    if isinstance(stored, Mapping):
        stored = list(stored.values())
    if isinstance(stored, Sequence) and len(stored) == 3 and isinstance(stored[0], str):
        stored = [stored]
    if not isinstance(stored, list) or not stored:
        model.fail(f"its configuration names no {key}.")
    return [_ref(model, each) for each in _flat(stored)]


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for each in values:
        if isinstance(each, list) and each and isinstance(each[0], list):
            yield from _flat(each)
        else:
            yield each
