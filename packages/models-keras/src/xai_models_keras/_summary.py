"""What a network consists of, as numbers and as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ._shapes import shapes

__all__ = ["summary", "table"]


def summary(description: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Return layers, parameters, inputs and outputs of a network; shapes leave out the batch."""
    found = shapes(description)
    of_module = {node["module"]: list(found[node["name"]]) for node in description["nodes"] if "module" in node}
    layers = [
        {
            "name": name,
            "class": type(module).__name__,
            "keras": description["modules"][name]["layer"],
            "shape": of_module[name],
            "parameters": sum(parameter.numel() for parameter in module.parameters()),
        }
        for name, module in network.named_children()
    ]
    return {
        "keras_version": description["keras"],
        "layers": layers,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "inputs": description["inputs"],
        "outputs": description["outputs"],
        "notes": description["notes"],
    }


def table(about: Mapping[str, Any]) -> list[str]:
    """Return lines for a person."""
    rows = [("module", "class", "Keras layer", "output", "parameters")]
    rows += [
        (
            each["name"],
            each["class"],
            each["keras"],
            _shape(each["shape"]),
            f"{each['parameters']:,}" if each["parameters"] else "",
        )
        for each in about["layers"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]
    lines += ["", f"{about['model']} (Keras {about['keras_version']}): {about['parameters']:,} parameters"]
    lines += [f"  input   {each['name']} {_shape(each['shape'])}" for each in about["inputs"]]
    for each in about["outputs"]:
        left = each["final_activation"]
        lines.append(
            f"  output  {each['node']} {_shape(each['shape'])}{f'; the final {left} is left out' if left else ''}"
        )
    lines += [f"  note    {note}" for note in about["notes"]]
    return [*lines, f"Written to {about['output']}."]


def _shape(shape: list[int]) -> str:
    return " x ".join(map(str, shape))
