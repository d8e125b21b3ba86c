"""torchvision imports beside a CPU-only torch, and every other failure stays visible. Each case is a fresh process."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

NEEDS = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")


def run(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path.insert(0, {str(folder)!r})\n" if folder else ""
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=False)


def printed(code: str, folder: Path | None = None) -> list[str]:
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def fake(folder: Path, source: str) -> Path:
    """A torchvision whose ``__init__`` is ``source``; the count of its imports is kept in ``sys.imports``."""
    package = folder / "torchvision"
    package.mkdir()
    count = "import sys\nsys.imports = getattr(sys, 'imports', 0) + 1\n"
    (package / "__init__.py").write_text(count + source)
    (package / "_part.py").write_text("import sys\nsys.parts = getattr(sys, 'parts', 0) + 1\n")
    return folder


CALL = """
from xai_core.engine import torchvision_shim as shim
shim.ensure_torchvision()
"""


@NEEDS
def test_the_installed_torchvision_imports_and_is_declared_only_where_it_must() -> None:
    """Whichever build is installed: its operators are there, or are declared once, and its models can be built."""
    plain = run("import torchvision").returncode == 0
    code = CALL + CALL + "import torchvision; torchvision.models.resnet18(); print(len(shim._declared))"
    assert printed(code) == ["0" if plain else "1"]


def test_no_declaration_where_it_imports(tmp_path: Path) -> None:
    code = CALL + "print(len(shim._declared), sys.imports, 'torch' in sys.modules)"
    assert printed(code, fake(tmp_path, "import torchvision._part")) == ["0", "1", "False"]


def test_nothing_is_done_where_it_is_imported_already(tmp_path: Path) -> None:
    code = "import torchvision" + CALL + "print(len(shim._declared), sys.imports)"
    assert printed(code, fake(tmp_path, "")) == ["0", "1"]


def test_missing_operator_is_declared_and_the_import_tried_again(tmp_path: Path) -> None:
    """As torchvision does it: a fake implementation attached to an operator that nothing has defined."""
    source = """
import torch
import torchvision._part

@torch.library.register_fake("torchvision::nms")
def _nms(dets, scores, iou_threshold):
    return dets
"""
    assert "operator torchvision::nms does not exist" in run("import torchvision", fake(tmp_path, source)).stderr
    code = (
        CALL
        + "import torch, torchvision; print(len(shim._declared), sys.imports, sys.parts, torch.ops.torchvision.nms)"
    )
    assert printed(code, tmp_path) == ["1", "2", "2", "torchvision.nms"], "all of the first import is forgotten"


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('operator torchvision::roi_align does not exist')",
        "raise RuntimeError('CUDA driver version is insufficient')",
        "raise OSError('libcudart.so: cannot open shared object file')",
        "raise ImportError('cannot import name x')",
    ],
)
def test_other_failures_pass_through(tmp_path: Path, source: str) -> None:
    watch = "import atexit, sys; atexit.register(lambda: print(sys.imports, 'torch' in sys.modules))\n"
    done = run(watch + CALL, fake(tmp_path, source))
    assert done.stdout.split() == ["1", "False"], "something was declared or tried again"
    assert done.returncode == 1
    message = source.partition("('")[2].removesuffix("')")
    assert done.stderr.strip().splitlines()[-1].endswith(message)


def test_second_failure_passes_through(tmp_path: Path) -> None:
    source = "raise RuntimeError('operator torchvision::nms does not exist')"
    done = run(CALL, fake(tmp_path, source))
    assert done.returncode == 1
    assert done.stderr.strip().endswith("operator torchvision::nms does not exist")


def test_absent_torchvision_is_left_to_who_needs_it() -> None:
    hidden = "import sys; sys.modules['torchvision'] = None\n"
    assert printed(hidden + "import importlib.util" + CALL + "print(len(shim._declared))") == ["0"]
    meta = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
    assert printed(meta + CALL + "print(len(shim._declared))") == ["0"]


def test_the_shim_itself_is_light() -> None:
    code = "import sys; import xai_core.engine.torchvision_shim; print('torch' in sys.modules)"
    assert printed(code) == ["False"]
