"""Fits the end of a stored network to the number of outputs that a study asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xai_core import InputError

from ._read import Network

__all__ = ["with_outputs"]


def with_outputs(network: Network, outputs: int | None) -> Network:
    """Return a network of one input and one output: [N, outputs], or volumes as stored where ``outputs`` is None.

    Args:
        network: As stored.
        outputs: Wanted number; None: as stored. One: a stored sigmoid is put back, for the value is wanted. Two: the
            logit z of a stored sigmoid becomes [0, z]. A network that gives volumes (a U-Net) has no number of outputs;
            with None it gives what Keras predicts, for a final softmax is put back.

    Raises:
        InputError: The network has several inputs or outputs, or another number of values.
    """
    stored = network.description["outputs"]
    inputs = network.description["inputs"]
    if outputs is None and len(inputs) == len(stored) == 1 and len(stored[0]["shape"]) == 4:
        return _with_ending(network)
    if len(inputs) != 1 or len(stored) != 1 or len(stored[0]["shape"]) != 1:
        shapes = ", ".join(str(tuple(each["shape"])) for each in stored)
        raise InputError(
            f"{network.path}: has {len(inputs)} inputs and {len(stored)} outputs (shapes without the batch: {shapes}); "
            "a study needs one input and one output of logits or values. xai_models_keras.read gives the network "
            "as it is."
        )
    size, activation = stored[0]["shape"][0], stored[0].get("final_activation")
    if outputs in (None, size) and not (activation == "sigmoid" and outputs == 1):
        return network
    if activation == "sigmoid" and outputs == 1:
        return _appended(network, "value", {"class": "Sigmoid", "params": {}, "keras": "Activation"}, 1)
    if activation == "sigmoid" and outputs == 2:
        return _appended(network, "logits", {"class": "ConstantPad1d", "params": {"padding": [1, 0], "value": 0.0}}, 2)
    how = f"before a {activation}" if activation else "with no final activation that was left out"
    raise InputError(
        f"{network.path}: the stored network has {size} outputs ({how}), but {outputs} are asked for. Give the study "
        "as many classes (1 for a regression), or replace the last layer in Keras and train it."
    )


def _with_ending(network: Network) -> Network:
    """Return a network that gives volumes with the softmax over channels that the reader left out."""
    (last,) = network.description["outputs"]
    cls = {"softmax": "Softmax", "logsoftmax": "LogSoftmax"}.get(last.get("final_activation"))
    if cls is None:
        return network
    module = {"class": cls, "params": {"dim": 1}, "keras": "Activation"}
    return _appended(network, "probabilities", module, *last["shape"])


def _appended(network: Network, name: str, module: dict[str, Any], *shape: int) -> Network:
    """Return the network with one more module at its end, which gives the shape [channels, ...]."""
    description = network.description
    while name in description["modules"] or any(node["name"] == name for node in description["nodes"]):
        name += "_"
    (last,) = description["outputs"]
    node = {"name": name, "module": name, "inputs": [last["node"]], "shape": list(shape)}
    end = {"node": name, "shape": list(shape), "final_activation": None}
    changed = {
        **description,
        "modules": {**description["modules"], name: {**module, "layer": name}},
        "nodes": [*description["nodes"], node],
        "outputs": [end],
    }
    return replace(network, description=changed)
