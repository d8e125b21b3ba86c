"""The table of explainers and networks: each state is reached by an explainer that deserves it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from xai_core import Attribution, ConfigError, Explainer, InputError, Model, NotApplicable, registry
from xai_core.cli import main
from xai_core.cli._matrix import parse_model
from xai_core.engine.matrix import Cell, Column, matrix
from xai_core.engine.samplenetwork import GRIDS, Sample, make_sample, make_volumes, randomise
from xai_core.testing import fake_distribution


class Net(nn.Module):
    """Convolutions with batch normalisation, and a linear layer; half of its parameters are constants."""

    def __init__(self, outputs: int = 2, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, 6, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm3d(6)
        self.fc = nn.Linear(6, outputs)
        self.constant = nn.Parameter(torch.full((3,), 0.25), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean((2, 3, 4)) + self.constant[0])  # type: ignore[no-any-return]


class NetModel(Model):
    """A network for volumes of at least so many voxels along each axis."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "width": {"type": "integer", "default": 4, "description": "Channels."},
            "least": {"type": "integer", "default": 1, "description": "Voxels."},
            "sizes": {"type": "array", "items": {"type": "integer"}, "default": [1], "description": "Any."},
            "file": {"type": ["string", "null"], "format": "path", "default": None, "description": "A file."},
        },
    }

    def __init__(self, *, width: int = 4, least: int = 1, sizes: Sequence[int] = (1,), file: str | None = None) -> None:
        if width > 64:
            raise ConfigError("width is too large.")
        self.width, self.least = width, least

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        if min(input_shape[1:]) < self.least:
            raise InputError(f"too small: {input_shape}")
        return Net(outputs or 2, self.width)


class NeedsFile(NetModel):
    """A network with a parameter that has no default."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"weights": {"type": "string", "format": "path", "description": "A file."}},
        "required": ["weights"],
    }

    def __init__(self, *, weights: str) -> None:
        super().__init__()


class Gradient(Explainer):
    """The gradient; the others of this file are it with one thing spoiled."""

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        with torch.enable_grad():
            x = volumes.detach().clone().requires_grad_()
            outputs = model(x)
            target = outputs.argmax(1) if target is None else target
            output = outputs.gather(1, target[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(output.sum(), x)
        return self.finish(Attribution(gradient, output.detach(), target), model, volumes)

    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return found


class Right(Gradient):
    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        assert len(volumes) == 2
        assert not model.training
        return "equals  the\ngradient: off by 3.4e-07"


class Constant(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(torch.ones_like(found.relevance), found.output, found.target)


class WhateverOutput(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(volumes * float(next(model.parameters()).abs().sum()), found.output, found.target)


class WhateverWeights(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(volumes * (1 + found.target[:, None, None, None, None]), found.output, found.target)


class BatchDependent(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(found.relevance - found.relevance.mean(0), found.output, found.target)


class WrongShape(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(found.relevance[..., :-1], found.output, found.target)


class Doubled(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(found.relevance.double(), found.output, found.target)


class NotFinite(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(found.relevance / 0, found.output, found.target)


class OtherOutput(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(found.relevance, torch.sigmoid(found.output), found.target)


class OtherTarget(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return Attribution(found.relevance, found.output, torch.zeros_like(found.target))


class NotAMap(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        return found.relevance  # type: ignore[return-value]


class ChangesWeights(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        with torch.no_grad():
            next(model.parameters()).mul_(0)
        return found


class ChangesWeightsUnseen(Gradient):
    """By ``data``, which no version counter sees."""

    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        next(model.parameters()).data.mul_(0)
        return found


class Destroys(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        del model.fc
        return found


class Freezes(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        model.requires_grad_(False)
        return found


class ChangesVolumes(Gradient):
    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        volumes.add_(1)
        return found


class BreaksItsPromise(Gradient):
    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        raise AssertionError("off by 12 %")


class SpoilsWhileTesting(Gradient):
    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        model.train()
        return "fine"


class CannotTest(Gradient):
    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        raise InputError("no copy")


class Refuses(Gradient):
    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        raise InputError("no rule for\n  fc (Linear)")


class NoSuchThing(Gradient):
    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        raise NotApplicable("there is no attention in it")


class Crashes(Gradient):
    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        raise AssertionError("its own bug")  # not that of a self_check: nothing was promised yet


class Exits(Gradient):
    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        raise SystemExit("bye")


class NeedsControls(Right):
    def uses_controls(self) -> bool:
        return True

    def set_controls(self, mean: Tensor) -> None:
        self.mean = mean

    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        assert self.mean.shape == volumes.shape[1:]
        return found


class OnlyForOneClass(Right):
    """0 for the predicted class: as a map may be that keeps positive evidence only."""

    def finish(self, found: Attribution, model: nn.Module, volumes: Tensor) -> Attribution:
        with torch.no_grad():
            speaks = model(volumes).argmax(1) != found.target
        return Attribution(found.relevance * speaks[:, None, None, None, None], found.output, found.target)


class NeedsAtlas(Gradient):
    config_schema = NeedsFile.config_schema

    def __init__(self, *, weights: str) -> None:
        raise AssertionError("made without its parameter")


EXPECTED: dict[type[Explainer], tuple[str, str]] = {
    Right: ("right", "equals the gradient: off by 3.4e-07"),
    Gradient: ("runs", "promises nothing"),
    Constant: ("WRONG", "the same everywhere"),
    WhateverOutput: ("WRONG", "whichever output"),
    WhateverWeights: ("WRONG", "with other weights"),
    BatchDependent: ("WRONG", "who else is in the batch"),
    WrongShape: ("WRONG", "the map is torch.float32 [2, 1, 17, 19, 20], not torch.float32 [2, 1, 17, 19, 21]"),
    Doubled: ("WRONG", "torch.float64"),
    NotFinite: ("WRONG", "NaN"),
    OtherOutput: ("WRONG", "the output that it explained is not the network's"),
    OtherTarget: ("WRONG", "it explained [0, 0]"),
    NotAMap: ("WRONG", "returned Tensor"),
    ChangesWeights: ("WRONG", "changed the network's weights"),
    ChangesWeightsUnseen: ("WRONG", "other outputs than before"),
    Destroys: ("WRONG", "modules"),
    Freezes: ("WRONG", "requires_grad"),
    ChangesVolumes: ("WRONG", "changed the volumes"),
    BreaksItsPromise: ("WRONG", "off by 12 %"),
    SpoilsWhileTesting: ("WRONG", "training flags"),
    CannotTest: ("runs", "its own test was not possible: no copy"),
    Refuses: ("refused", "no rule for fc (Linear)"),
    NoSuchThing: ("not applicable", "there is no attention in it"),
    Crashes: ("failed", "AssertionError: its own bug"),
    Exits: ("failed", "SystemExit: bye"),
    NeedsControls: ("right", "equals the gradient"),
    OnlyForOneClass: ("right", "equals the gradient"),
    NeedsAtlas: ("not applicable", "needs params: weights"),
}


@pytest.fixture
def invented(site: Path) -> Iterator[Path]:
    """The explainers and models of this file, and nothing else."""
    log = logging.getLogger("xai")
    before = log.handlers[:], log.level, log.propagate
    for explainer in EXPECTED:
        registry.register("explainer", explainer.__name__, explainer)
    registry.register("model", "net", NetModel)
    registry.register("model", "needs-file", NeedsFile)
    yield site
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def test_each_state_is_reached_and_none_reaches_the_next(invented: Path) -> None:
    """The explainers run one after the other on one network: what one spoils must not spoil another's cell."""
    (column,) = matrix([("net", "net", {})], [explainer.__name__ for explainer in EXPECTED])
    assert column.grid == (17, 19, 21)
    assert column.parameters == sum(parameter.numel() for parameter in Net().parameters())
    for explainer, (state, note) in EXPECTED.items():
        cell = column.cells[explainer.__name__]
        assert (cell.state, note in cell.note) == (state, True), (explainer.__name__, cell)


def test_a_model_that_cannot_be_built_does_not_stop_the_table(invented: Path) -> None:
    models = [("a", "needs-file", {}), ("b", "net", {"least": 1000}), ("c", "net", {"width": 0}), ("d", "net", {})]
    a, b, c, d = matrix(models, ["Right", "Gradient"])
    assert (a.cells["Right"], a.grid) == (Cell("not applicable", "the model needs params: weights"), None)
    assert b.cells["Gradient"].state == "not applicable"
    assert "takes no volume that was tried: too small: (1, 97, 99, 101)" in b.cells["Gradient"].note
    assert (c.cells["Right"].state, c.cells["Right"].note.partition(":")[0]) == ("failed", "the model cannot be built")
    assert (d.cells["Right"].state, d.grid) == ("right", (17, 19, 21))


def test_a_broken_plugin_fails_in_its_row_only(invented: Path) -> None:
    points = {"xai.explainers": {"broken": "broken_explainer:Mine"}}
    fake_distribution(invented, "xai-broken", "0.3", entry_points=points, modules={"broken_explainer.py": "import no"})
    registry.refresh()
    (column,) = matrix([("net", "net", {})], ["broken", "Right"])
    assert column.cells["broken"].state == "failed"
    assert "xai-broken 0.3" in column.cells["broken"].note
    assert column.cells["Right"].state == "right"


# --- the networks


def test_the_smallest_grid_that_leaves_room_is_taken() -> None:
    assert all(len(set(grid)) == 3 and all(side % 2 for side in grid) for grid in GRIDS)
    assert make_sample(NetModel()).grid == GRIDS[0]
    assert make_sample(NetModel(least=18)).grid == GRIDS[1]

    class Deep(NetModel):
        """Ends in one voxel on a grid of less than 33 voxels; that of a gate, before, does not count."""

        def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
            strided = [nn.Conv3d(2, 2, 3, stride=2, padding=1) for _ in range(5)]
            gate = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Conv3d(2, 2, 1), nn.Upsample(size=input_shape[1:]))
            head = (nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
            return nn.Sequential(nn.Conv3d(1, 2, 3, stride=2, padding=1), gate, *strided, *head)

    assert make_sample(Deep()).grid == GRIDS[1]


def test_outputs_depend_on_the_volume_and_on_the_weights() -> None:
    sample = make_sample(NetModel())
    with torch.no_grad():
        outputs, others = sample.network(sample.volumes), sample.other(sample.volumes)
    assert float(outputs.std(0).min()) > 0.1
    assert float((outputs - others).abs().min(0).values.max()) > 0.1


def test_weights_are_calibrated_and_the_same_each_time() -> None:
    volumes = make_volumes(GRIDS[0])
    network = randomise(Net(), volumes, 3)
    assert not any(module.training or module._forward_hooks for module in network.modules())
    assert network.constant.tolist() == [0.25] * 3
    with torch.no_grad():
        first = network.conv1(volumes)
        second = network.conv2(torch.relu(network.bn1(first)))
        outputs = network(volumes)
    # By hand: spread within a channel, and statistics of batch normalisation.
    assert float(first.var((0, 2, 3, 4), correction=0).mean().sqrt()) == pytest.approx(0.5, abs=1e-4)
    assert torch.allclose(network.bn1.running_mean, first.mean((0, 2, 3, 4)), atol=1e-4)
    assert float(second.var((0, 2, 3, 4), correction=0).mean().sqrt()) == pytest.approx(0.5, abs=1e-4)
    assert float(outputs.var(0, correction=0).mean().sqrt()) == pytest.approx(0.5, abs=1e-4)
    again = randomise(Net(), volumes, 3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())


def test_invented_heads_differ_and_have_a_background() -> None:
    volumes = make_volumes(GRIDS[0])
    inside = (volumes != 0).any(0)[0]
    assert 0.2 < float(inside.float().mean()) < 0.6
    assert not inside[0, 0, 0]
    for head, contrast in zip(volumes[:, 0, inside], [1.1, 1.05, 1, 0.95] * 4, strict=True):
        assert (float(head.mean()), float(head.std())) == pytest.approx((contrast, contrast), rel=1e-3)
        assert bool((head < 0).any())
    assert not torch.allclose(volumes[0] / 1.1, volumes[1] / 1.05)


def test_a_change_of_the_network_is_seen() -> None:
    sample = make_sample(NetModel())
    assert sample.state() == sample.state()
    changes = [
        lambda s: s.network.fc.weight.data.add_(1), lambda s: s.other.train(), lambda s: s.volumes.add_(1),
        lambda s: s.network.requires_grad_(False), lambda s: s.network.fc.register_forward_hook(print),
    ]  # fmt: skip
    for change in changes:
        fresh: Sample = make_sample(NetModel())
        before = fresh.state()
        with torch.no_grad():
            change(fresh)
        assert fresh.state() != before


# --- the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(["plugins", *arguments])
    out, err = capsys.readouterr()
    return int(done.value.code or 0), out, err


def test_models_with_parameters(invented: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_model("net") == ("net", "net", {})
    assert parse_model("(this process):net:width=8")[1:] == ("(this process):net", {"width": 8})
    text = "net:sizes=[2,3],width=8, file=a.pt"
    assert parse_model(text) == (text, "net", {"sizes": [2, 3], "width": 8, "file": str(tmp_path / "a.pt")})
    assert parse_model("needs-file") == ("needs-file", "needs-file", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nett", "There is no model named 'nett'. Did you mean 'net'?"),
        ("net:widht=8", "net:widht=8: widht: unknown parameter. Did you mean 'width'?"),
        ("net:width=a,least=b", "not 'b'.\nnet:width=a,least=b: width: must be an integer, not 'a'."),
        ("net:width=65", "width is too large."),
        ("width=8", "write the model's name first"),
        ("net:width=[", "net:width=[: width"),
        ("net:", "There is no model named 'net:'."),
    ],
)
def test_a_wrong_model_is_an_error_before_anything_runs(
    invented: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    code, out, err = run(capsys, "explainers", "--matrix", "net", text)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explainers", "--matrix"], "explainers --matrix MODEL... Installed: needs-file, net."),
        (["models", "--matrix", "net"], "--matrix is for explainers"),
        (["--matrix", "net"], "--matrix is for explainers"),
        (["explainers", "net"], "belong to --matrix"),
        (["explainers", "--explainer", "Right"], "belong to --matrix"),
        (["explainers", "--matrix", "net", "--json", "--markdown"], "not both"),
        (["explainers", "--matrix", "net", "--explainer", "Righ"], "Did you mean 'Right'?"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(
    invented: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_the_table_on_a_terminal(invented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = [part for name in ("Right", "NeedsControls", "Refuses") for part in ("--explainer", name)]
    code, out, _ = run(capsys, "explainers", "--matrix", "net", "net:sizes=[1,2],width=8", *chosen)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[:3] == [["net", "net:"], ["sizes=[1,2]"], ["width=8"]]
    assert lines[3:6] == [
        ["Right", "right", "(1)", "right", "(1)"], ["NeedsControls", "right", "(1)", "right", "(1)"],
        ["Refuses", "refused", "(2)", "refused", "(2)"],
    ]  # fmt: skip
    assert "  1  equals the gradient: off by ~1e-06\n  2  no rule for fc (Linear)\n" in out
    assert "\nrefused: " in out
    assert "\nWRONG: " not in out
    assert "\nnet:sizes=[1,2],width=8: volumes of 17 x 19 x 21 voxels, " in out


def test_json_holds_the_figures_as_they_are(invented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "explainers", "--matrix", "net", "--json", "--explainer", "Right")[1])
    assert found["cells"] == [
        {"explainer": "Right", "model": "net", "state": "right", "note": "equals the gradient: off by 3.4e-07"}
    ]
    assert found["models"][0]["grid"] == [17, 19, 21]


NOTE = "0.0e+00 | [x] a (/e/lib/python3/site-packages/monai/nets/v.py:125) 1/2 and/or (/w/src/mine/net.py:3), /d/b.nii"


def test_all_explainers_unless_told_and_two_of_one_name(
    invented: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fake(models: Any, names: list[str]) -> list[Column]:
        asked.extend(names)
        return [Column("net", (1, 2, 3), 4, {name: Cell("runs", NOTE) for name in names})]

    monkeypatch.setattr("xai_core.engine.matrix.matrix", fake)
    for package in ("xai-one", "xai-two"):
        fake_distribution(invented, package, "1", entry_points={"xai.explainers": {"twin": "nowhere:Mine"}}, modules={})
    registry.refresh()
    code, out, _ = run(capsys, "explainers", "--matrix", "net", "--markdown")
    assert code == 0
    assert asked == [*sorted(explainer.__name__ for explainer in EXPECTED), "xai-one:twin", "xai-two:twin"]
    assert "\n    net\n```\n" in out
    assert "\n| xai-one:twin | runs (1) |\n" in out
    assert "\n1. 0 \\| \\[x\\] a (monai/nets/v.py:125) 1/2 and/or (mine/net.py:3), b.nii\n" in out


def test_a_mistyped_model_is_told_without_torch() -> None:
    code = (
        "import sys\nfrom xai_core.cli import main\n"
        "try:\n    main(['plugins', 'explainers', '--matrix', 'no-such-model'])\n"
        "except SystemExit as done:\n    assert done.code == 2\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
