"""What an explainer may neither return nor leave behind, and how a component that fails is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xai_core import Attribution, Explainer, InputError, PluginError, RunError, registry
from xai_core.engine.attribution import attribute
from xai_core.engine.calls import at_work
from xai_core.engine.progress import is_terminal
from xai_core.engine.scans import check_image_file
from xai_core.engine.units import Units

VOLUMES = torch.ones(1, 1, 4, 4, 4)
Change = Callable[[nn.Module, Attribution], Attribution | None]


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Attribution]]:
    monkeypatch.setattr(registry._default, "_registered", {})

    def run(change: Change, target: torch.Tensor | None = None) -> Attribution:
        class Stranger(Explainer):
            """Returns what the test says."""

            def explain(self, model: nn.Module, volumes: Any, target: Any) -> Any:
                good = Attribution(torch.zeros_like(volumes), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
                return change(model, good)

        registry.register("explainer", "stranger", Stranger)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 2)).eval()
        return attribute(model, {"name": "stranger", "params": {}}, VOLUMES, target, 0, "sub-01")

    yield run
    registry.refresh()


def test_a_good_one_passes(explain: Callable[..., Attribution]) -> None:
    assert explain(lambda _model, good: good).target.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, g: (m.train(), g)[1], "changed the network's training flags"),
        (lambda m, g: (m[2].register_forward_hook(print), g)[1], "changed the network's hooks"),
        (lambda m, g: (m.__setitem__(1, nn.Identity()), g)[1], "changed the network's .*modules"),
        (lambda _m, g: Attribution(g.relevance, g.output, torch.zeros(1, 2)), r"target \(1, 2\); it must be"),
        (lambda _m, g: Attribution(g.relevance, g.output, torch.zeros(1)), "it must be int64"),
        (lambda _m, g: Attribution(g.relevance, g.output[:0], g.target), r"output \(0,\); it must be"),
        (lambda _m, g: Attribution(g.relevance, g.output, g.target, [{"a": VOLUMES}]), "JSON cannot hold"),
        (lambda _m, g: Attribution(g.relevance, g.output, g.target, []), "0 details for 1 volumes"),
    ],
)
def test_what_is_refused(explain: Callable[..., Attribution], change: Change, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        explain(change)


def test_another_output_than_the_one_asked_for_is_refused(explain: Callable[..., Attribution]) -> None:
    with pytest.raises(PluginError, match=r"explained output \[0\] where \[1\] was asked for"):
        explain(lambda _model, good: good, torch.tensor([1]))


def test_one_that_raises_is_named(explain: Callable[..., Attribution]) -> None:
    with pytest.raises(PluginError, match=r"^The explainer 'stranger' of .* failed explaining sub-01: ValueError: no"):
        explain(lambda _model, _good: (_ for _ in ()).throw(ValueError("no")))


@pytest.mark.parametrize("error", [InputError("which"), OSError(28, "full")])
def test_expected_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, at_work("model", "m", "building"):
        raise error
    assert caught.value is error


def test_memory_is_no_defect_of_a_plugin() -> None:
    with pytest.raises(RunError, match="Memory did not suffice for the model m"), at_work("model", "m", "building"):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_units_of_nobody_are_removed(tmp_path: Path) -> None:
    units = Units(tmp_path)
    for person in ("sub-01", "sub-02", "sub-03"):
        with units.make(f"maps/{person}/lrp", "k", f"derivatives/{person}/anat") as folder:
            (folder / "map").write_text("m", encoding="utf-8")
    removed = units.keep_only("maps", {("maps/sub-01/lrp", "k"), ("maps/sub-02/lrp", "another")})
    assert removed == ["maps/sub-02/lrp", "maps/sub-03/lrp"]
    assert [p.name for p in (tmp_path / "derivatives").iterdir()] == ["sub-01"]
    assert units.is_done("maps/sub-01/lrp", "k")
    assert not units.is_done("maps/sub-02/lrp", "k")


def test_a_closed_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_terminal()


def test_a_name_that_is_no_text_is_refused_before_itk_sees_it() -> None:
    assert "PYTHONUTF8=1" in str(check_image_file(Path("\udcc3.nii"), "sub-01"))
