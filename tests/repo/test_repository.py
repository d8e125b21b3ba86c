"""What the documentation and the plan say of the repository holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xai_core import registry
from xai_core.config.resolve import resolve
from xai_core.hookspecs import SPECS
from xai_core.testing import ExplainerConformance

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
FRAME = {"torch", "torchio", "nibabel", "zennit", "captum", "pluggy", "jsonschema", "click", "pyyaml", "xai-core"}


def project(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def import_name(package: Path) -> str:
    return "xai_" + package.name.replace("-", "_")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_package_follows_the_plan(package: Path) -> None:
    about = project(package)
    assert about["name"] == f"xai-{package.name}"
    source = package / "src" / import_name(package)
    assert (source / "py.typed").is_file()
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (ROOT / "tests" / package.name.replace("-", "_")).is_dir()
    for text in about["dependencies"]:
        if text.startswith("xai-"):
            assert text == f"xai-core=={about['version']}", "plugins depend on the core only, of their own version"


def test_all_versions_are_equal() -> None:
    versions = {package.name: project(package)["version"] for package in PACKAGES}
    assert len(set(versions.values())) == 1, versions
    for package in PACKAGES:
        text = (package / "src" / import_name(package) / "__init__.py").read_text(encoding="utf-8")
        assert f'__version__ = "{versions[package.name]}"' in text, package.name


@pytest.mark.parametrize("name", ["core", "models-resnet3d", "explainers-lrp", "explainers-gradcam"])
def test_the_frame_depends_on_little(name: str) -> None:
    wanted = {re.split(r"[^\w.-]", text)[0].lower() for text in project(ROOT / "packages" / name)["dependencies"]}
    assert wanted <= FRAME, wanted - FRAME


def test_nothing_imports_a_sibling_plugin() -> None:
    names = {import_name(package) for package in PACKAGES} - {"xai_core"}
    for package in PACKAGES:
        for path in package.glob("src/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                for module in modules:
                    root = module.partition(".")[0]
                    assert root not in names - {import_name(package)}, f"{path} imports {module}"


def test_modules_stay_small() -> None:
    paths = [*ROOT.glob("packages/**/*.py"), *ROOT.glob("examples/**/*.py"), *ROOT.glob("benchmarks/*.py")]
    long = {str(p.relative_to(ROOT)): n for p in paths if (n := len(p.read_text(encoding="utf-8").splitlines())) > 350}
    assert not long


def test_requirements_install_every_package() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert {f"-e packages/{package.name}" for package in PACKAGES} <= {
        line.partition("[")[0] for line in text.splitlines()
    }


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [line for block in blocks(ROOT / "README.md", "bash")[:2] for line in block.strip().splitlines()]
    assert commands == [
        "pip install -r requirements.txt && xai run examples/quickstart/pipeline.yaml",
        "pip install -r requirements-dev.txt && pytest -n 2 --dist loadfile",
    ]
    for command in " && ".join(commands).split(" && "):
        quiet = re.sub("^(pip install|pytest)", "\\g<1>( -q)?", command)
        assert re.search(quiet, script), command


def test_the_pipelines_of_the_readme_and_the_quickstart_are_valid(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0], encoding="utf-8")
    assert resolve(tmp_path / "study.yaml").value["name"] == "study"
    assert resolve(ROOT / "examples" / "quickstart" / "pipeline.yaml").value["name"] == "quickstart"


KINDS = {
    "data": "dataset", "split": "splitter", "model": "model", "training": "trainer", "transforms": "transform",
    "explainers": "explainer", "evaluators": "evaluator", "analyses": "analysis", "reports": "report",
}  # fmt: skip


def components(part: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kind and the mapping of every component that a piece of YAML names."""
    for key, value in part.items() if isinstance(part, dict) else ():
        for slot in value if isinstance(value, list) else [value]:
            if key in KINDS and isinstance(slot, dict) and "name" in slot:
                yield KINDS[key], slot
            yield from components(slot)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.stem)
def test_what_the_pages_name_is_there(page: Path) -> None:
    for block in blocks(page, "yaml"):
        for kind, slot in components(yaml.safe_load(block)):
            known = registry.schema(kind, slot["name"])["properties"]
            assert not set(slot.get("params", {})) - set(known), (page.name, slot["name"])


def test_the_pipelines_of_the_keras_page_and_its_example_are_valid(tmp_path: Path) -> None:
    page = ROOT / "docs" / "from-keras.md"
    (tmp_path / "study.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    assert resolve(tmp_path / "study.yaml").value["training"]["name"] == "as-stored"
    assert resolve(ROOT / "examples" / "dementia" / "pipeline.yaml").value["name"] == "dementia"
    text = page.read_text(encoding="utf-8")
    for composite in re.findall(r"`((?:innvestigate-)?sequential-preset-[ab]|innvestigate-[a-z0-9-]+[a-z0-9])`", text):
        assert registry.create("explainer", "lrp", composite=composite).composite == composite


def test_the_commands_of_the_documents_exist() -> None:
    from xai_core.cli import COMMANDS
    from xai_core.cli._installed import installed

    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        match for page in pages for block in blocks(page, "bash") for match in re.findall(r"^xai ([\w-]+)", block, re.M)
    }
    assert {"run", "import-keras"} <= used
    assert used <= {*COMMANDS, *installed()}


def test_the_plugin_of_the_readme_conforms() -> None:
    code = next(block for block in blocks(ROOT / "README.md", "python") if "class GradientNorm" in block)
    namespace: dict[str, Any] = {"__name__": "readme_plugin"}
    exec(code, namespace)
    registry.register("explainer", "gradient-norm", namespace["GradientNorm"])

    class Suite(ExplainerConformance):
        name = "gradient-norm"

    # These two need an installed package.
    installed_only = {"test_resolves_through_its_entry_point", "test_leaves_torch_out", "test_cpu_equals_gpu"}
    for check in [name for name in dir(Suite) if name.startswith("test_") and name not in installed_only]:
        getattr(Suite(), check)()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_examples_of_package_readmes_run(package: Path, tmp_path: Path) -> None:
    examples = [b for b in blocks(package / "README.md", "python") if "pytest" not in b and "class Test" not in b]
    yaml = blocks(package / "README.md", "yaml")
    assert examples or yaml, f"{package.name}/README.md has no example"
    for block in examples:
        if "pipeline.yaml" in block:
            continue  # needs a study; the quickstart is that example
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


def test_every_hook_is_tested() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py") if path != Path(__file__))
    hooks = [name for spec in SPECS for name in vars(spec) if name.startswith("xai_")]
    assert len(hooks) == 13
    untested = [name for name in hooks if not re.search(rf"def {name}\b", tests)]
    assert not untested


def test_nothing_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".txt"} and path.is_file() and path != Path(__file__):
            assert not re.search(r"/home/\w|/root/|/Users/\w", path.read_text(encoding="utf-8")), name
