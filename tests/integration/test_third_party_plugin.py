"""The example plugin, really installed by pip, is found and used without a change to anything of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third-party-explainer"

Run = Callable[..., str]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip installed the example into, so that the environment of the tests stays as it is."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(folder), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Runs a command that sees the installed example and returns what it printed."""

    def run_command(*command: str) -> str:
        path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_command


def test_xai_plugins_lists_it(run: Run) -> None:
    xai = shutil.which("xai", path=str(Path(sys.executable).parent))
    assert xai is not None
    rows = [row for row in json.loads(run(xai, "plugins", "--json")) if row["name"] == "cube-occlusion"]
    assert rows == [
        {
            "kind": "explainer",
            "name": "cube-occlusion",
            "package": "xai-example-occlusion",
            "version": "0.1.0",
            "target": "xai_example_occlusion.plugin:CubeOcclusion",
            "summary": "How much the output falls when a cube of the volume is replaced by background.",
            "problem": None,
        }
    ]


USE = """
import sys
from xai_core import registry
explainer = registry.create("explainer", "cube-occlusion", size=4)
assert "torch" not in sys.modules
import torch
from torch import nn
network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2)).eval()
print(list(explainer.explain(network, torch.rand(2, 1, 9, 7, 5), None).relevance.shape))
print(sys.modules["xai_example_occlusion"].__file__)
"""


def test_registry_creates_it_and_it_explains(run: Run, installed: Path) -> None:
    shape, file = run(sys.executable, "-c", USE).splitlines()
    assert shape == "[2, 1, 9, 7, 5]"
    assert Path(file).is_relative_to(installed)


WRONG = """
from xai_core import ConfigError, registry
try:
    registry.create("explainer", "cube-occlusion", sise=4)
except ConfigError as error:
    print(error)
"""


def test_a_wrong_parameter_is_explained(run: Run) -> None:
    message = run(sys.executable, "-c", WRONG)
    assert message.startswith("cube-occlusion: params.sise: unknown parameter. Did you mean 'size'?")


def test_its_own_tests_pass(run: Run) -> None:
    """Among them the conformance kit, none of it skipped but what needs a GPU."""
    flags = ["-p", "no:cacheprovider", "-ra", "-v"]
    printed = run(sys.executable, "-m", "pytest", *flags, str(EXAMPLE / "tests"))
    assert "TestCubeOcclusion::" in printed
    assert "test_cube_of_a_linear_network_gets_the_sum_of_its_voxels PASSED" in printed
    skipped = [line for line in printed.splitlines() if line.startswith("SKIPPED")]
    assert all("GPU" in line or "CUDA" in line.upper() for line in skipped), skipped
