"""The page that says which explainer works on which network says what running them says."""

from __future__ import annotations

import re
from pathlib import Path

from xai_core import registry
from xai_core.cli._matrix import LEGEND, as_markdown, parse_model
from xai_core.engine.matrix import matrix

PAGE = Path(__file__).parents[2] / "docs" / "explainers-and-networks.md"

# Networks of publications and of files: tests/models_brainage and tests/models_keras run explainers on them.
ELSEWHERE = {
    "keras", "singh2023-alexnet", "singh2023-vgg", "singh2023-resnet", "singh2023-densenet", "dyrba2021", "mrinet",
    "sfcn",
}  # fmt: skip

# Columns that are quick to compute again; the rest of the page is made by the same command.
QUICK = (
    "monai-classifier:channels=[4,8],strides=[2,2],norm=batch,act=relu",
    "monai-vit:patch_size=8,hidden_size=24,mlp_dim=32,num_layers=2,num_heads=4",
)


def states(page: str) -> dict[str, dict[str, str]]:
    """Return the states of a page by model and explainer."""
    head, _line, *rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    found: dict[str, dict[str, str]] = {}
    for column, model in enumerate(head[1:], 1):
        found[model] = {row[0]: re.sub(r" \(\d+\)$", "", row[column]) for row in rows}
    assert {state for column in found.values() for state in column.values()} <= set(LEGEND)
    return found


def own(kind: str) -> set[str]:
    """Return the names of this repository's components; a test or another package may have added some."""
    packages = {path.name for path in PAGE.parents[1].glob("packages/*")}
    return {info.name for info in registry.infos(kind) if info.package.removeprefix("xai-") in packages}


def test_the_page_covers_what_this_repository_offers() -> None:
    found = states(PAGE.read_text(encoding="utf-8"))
    shown = {name.partition(":")[0] for name in found}
    assert shown == own("model") - {"monai-regressor"} - ELSEWHERE  # the regressor is built as the classifier
    assert all(set(column) == own("explainer") for column in found.values())
    assert any("shortcut=A" in name for name in found if name.startswith("resnet3d"))


def test_running_the_explainers_again_gives_the_states_of_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    columns = matrix([parse_model(text) for text in QUICK], sorted(own("explainer")))
    found = states(as_markdown(columns, []))
    expected = states(page)
    assert found == {model: expected[model] for model in QUICK}


def test_the_page_holds_the_command_that_makes_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    command = re.search(r"```bash\n(.*?)\n```", page, flags=re.DOTALL)
    assert command is not None
    for model in states(page):
        assert model in command.group(1)
        parse_model(model)
