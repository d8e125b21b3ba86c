"""Hands the stored weights to the layers they belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import h5py

from ._config import Model
from ._hdf5 import array, child, get_attribute
from ._layer import Layer, Stored

__all__ = ["from_archive", "from_legacy"]

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_MOST_WEIGHTS = 16


def from_legacy(model: Model, stored: Mapping[str, Sequence[Stored]]) -> None:
    """Give each layer its weights from a legacy file, which keeps one list for each layer of the outermost model.

    Raises:
        InputError: Weights are missing, or belong to no layer.
    """
    for name, weights in stored.items():
        if weights and name not in model.layers:
            model.fail(f"the file holds weights for a layer {name!r}, which the configuration does not have.")
    for name, layer in model.layers.items():
        weights = stored.get(name, ())
        if isinstance(layer, Layer):
            layer.weights = weights
        else:
            _share(layer, weights)


def _share(model: Model, weights: Sequence[Stored]) -> None:
    """Divide the one list of a nested model among its layers: by name, else in Keras' order.

    Keras' order is: every trainable weight, layer by layer, then every other one.
    """
    wanted = [*_variables(model, True), *_variables(model, False)]
    if len(wanted) != len(weights):
        model.fail(f"its layers need {len(wanted)} weights, but the file holds {len(weights)} for it.")
    places = Counter(_place(each.name) for each in weights)
    named = {_place(each.name): each for each in weights}
    by_name = [named.get((layer.path[-1], name)) for layer, name in wanted]
    unique = max(places.values(), default=0) <= 1 and len({(layer.path[-1], name) for layer, name in wanted}) == len(
        wanted
    )
    for index, (layer, name) in enumerate(wanted):
        found = by_name[index] if unique and all(by_name) else weights[index]
        if found is None or (found.name is not None and _place(found.name)[1] != name):
            layer.fail(f"its weight {name} is not where it should be among the weights of {model.label}.")
        layer.weights = [*layer.weights, Stored(name, found.value)]


def _place(name: str | None) -> tuple[str, str]:
    parts = (name or "").split(":", 1)[0].split("/")
    return (parts[-2] if len(parts) > 1 else "", parts[-1])


def _variables(model: Model, trainable: bool, frozen: bool = False) -> Iterator[tuple[Layer, str]]:
    frozen = frozen or not model.trainable
    for layer in model.layers.values():
        if isinstance(layer, Model):
            yield from _variables(layer, trainable, frozen)
            continue
        still = frozen or layer.config.get("trainable") is False
        for name, learnt in _names(layer):
            if (learnt and not still) == trainable:
                yield layer, name


def _names(layer: Layer) -> list[tuple[str, bool]]:
    """Return the names of a layer's weights in the order in which Keras makes them, and whether each is learnt."""
    kind = layer.kind.removeprefix("Addons>")
    if kind.startswith("Conv") or kind == "Dense":
        return [("kernel", True), *([("bias", True)] if layer.flag("use_bias", True) else [])]
    if kind in ("BatchNormalization", "GroupNormalization", "InstanceNormalization"):
        affine = [(name, True) for name, key in (("gamma", "scale"), ("beta", "center")) if layer.flag(key, True)]
        still = [("moving_mean", False), ("moving_variance", False)] if kind == "BatchNormalization" else []
        return [*affine, *still]
    if kind == "PReLU":
        return [("alpha", True)]
    if kind == "Normalization" and layer.config.get("mean") is None:
        return [("mean", False), ("variance", False), ("count", False)]
    return []


def from_archive(model: Model, group: h5py.Group) -> None:
    """Give each layer its weights from the HDF5 file of a ``.keras`` archive.

    There a layer is found by its class and its place among those of its class, not by its name.

    Raises:
        InputError: Weights are missing, or belong to no layer.
    """
    container = next((found for key in _CONTAINERS if (found := child(model.file, group, key)) is not None), None)
    if not isinstance(container, h5py.Group):
        model.fail("the file holds no weights for its layers.")
    wanted: dict[str, list[Layer | Model]] = {}
    for layer in model.layers.values():
        wanted.setdefault(_snake(layer.kind.removeprefix("Addons>")), []).append(layer)
    used = set()
    for kind, layers in wanted.items():
        names = _numbered(container, kind)
        needing = [layer for layer in layers if isinstance(layer, Model) or _names(layer)]
        exact = [f"{kind}_{index}" if index else kind for index in range(len(layers))]
        if set(exact) <= set(names):
            pairs = list(zip(layers, exact, strict=True))
        elif len(names) == len(needing):
            pairs = list(zip(needing, names, strict=True))
        elif needing:
            model.fail(
                f"has {len(layers)} layers of the class {layers[0].kind}, but the file holds weights of {len(names)}."
            )
        else:
            pairs = []
        for layer, name in pairs:
            used.add(name)
            _fill(layer, child(model.file, container, name))
    for name in container:
        if name not in used and _holds(child(model.file, container, name)):
            model.fail(f"the file holds weights for a layer {name!r}, which the configuration does not have.")


def _fill(layer: Layer | Model, group: h5py.Group | h5py.Dataset | None) -> None:
    if not isinstance(group, h5py.Group):
        layer.fail("its weights in the file are damaged.")
    if isinstance(layer, Model):
        from_archive(layer, group)
        return
    values = child(layer.file, group, "vars")
    name = (
        get_attribute(layer.file.path, values, "name") if isinstance(values, h5py.Group) else None
    )  # late versions of Keras 3
    if isinstance(name, str) and name != layer.path[-1]:
        layer.fail(f"in the place of its weights the file holds those of a layer {name[:80]!r}.")
    count = len(values) if isinstance(values, h5py.Group) else 0
    if count > _MOST_WEIGHTS:
        layer.fail(f"the file holds {count} weights for it.")
    layer.weights = [
        Stored(None, array(layer.file, f"{layer.label}, weight {index}", child(layer.file, values, str(index))))
        for index in range(count)
    ]


def _holds(group: h5py.Group | h5py.Dataset | None) -> bool:
    values = group.get("vars") if isinstance(group, h5py.Group) else None
    return isinstance(values, h5py.Group) and len(values) > 0


def _numbered(container: h5py.Group, kind: str) -> list[str]:
    found = {
        name: int(match[1] or 0) for name in container if (match := re.fullmatch(rf"{kind}(?:_(\d{{1,6}}))?", name))
    }
    return sorted(found, key=lambda name: found[name])


def _snake(kind: str) -> str:
    """Return a class's name as Keras writes it into a path: ``MaxPooling3D`` is ``max_pooling3d``."""
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
