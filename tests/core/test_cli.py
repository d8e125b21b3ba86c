"""The command line: exit codes, one message without a traceback, JSON for programs, and a light start."""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import nibabel as nib
import pytest
from jsonschema import Draft202012Validator

import xai_core
from xai_core import Pipeline, PluginError, RunError, registry
from xai_core.cli import COMMANDS, cli
from xai_core.cli._common import metric_lines, short
from xai_core.config.resolve import resolve
from xai_core.config.strictyaml import dump, load_text
from xai_core.testing import fake_distribution
from xai_core.testing._distributions import component_source
from xai_core.testing._toys import TOY_PIPELINE, register_toys, write_toy_study

Write = Callable[[str], Path]
Xai = Callable[..., tuple[int, str, str]]

XAI = Path(sys.executable).with_name("xai")

GOOD = """version: 1
data: {name: invented}
split: {name: folds}
model: {name: resnet}
training: {name: sgd}
"""

# For other processes, which also see what is really installed.
QUALIFIED = GOOD.replace("{name: ", "{name: study-plugins:")


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    log = logging.getLogger("xai")
    before = log.handlers[:], log.level, log.propagate
    log.handlers.clear()
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def shell(*arguments: object, site: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed script as a user would."""
    environment = {**os.environ, "PYTHONPATH": str(site)} if site else dict(os.environ)
    command = [str(XAI), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=cwd, check=False)


# --- the start is light

LIGHT = """
import sys
from xai_core.cli import main
heavy = {"torch", "torchio", "nibabel", "numpy", "pandas", "scipy", "sklearn", "captum", "zennit", "pytorch_lightning",
         "matplotlib", "nilearn"}
for arguments in (["--help"], ["plugins"], ["plugins", "--json"], ["schema"], ["run", "--help"], ["nonsense"],
                  ["validate", sys.argv[1]], ["validate", sys.argv[1], "--resolved"],
                  ["schema", "model", "study-plugins:resnet"]):
    try:
        main(arguments)
    except SystemExit as done:
        assert bool(done.code) == (arguments == ["nonsense"]), (arguments, done.code)
    assert not heavy & set(sys.modules), (arguments, heavy & set(sys.modules))
assert not any(name.startswith("xai_core.engine") for name in sys.modules)
"""


def test_help_plugins_schema_and_validate_leave_torch_out(pipeline: Write, study_plugins: Path) -> None:
    """With every plugin that is installed where the tests run, and the invented ones."""
    command = [sys.executable, "-c", LIGHT, str(pipeline(QUALIFIED))]
    environment = {**os.environ, "PYTHONPATH": str(study_plugins)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


# --- exit codes through the installed script


def test_exit_codes_of_the_script(pipeline: Write, study_plugins: Path) -> None:
    path = pipeline(QUALIFIED)
    done = shell("validate", path, site=study_plugins)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path} is valid.\n", "")

    done = shell("validate", path.name, "--set", "model.params.depth=11", site=study_plugins, cwd=path.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("Error: --set model.params.depth=11: model.params.depth: 11 is not one of 10, 18.\n")

    points = {"xai.reports": {"broken": "broken_report:Mine"}}
    fake_distribution(
        study_plugins, "xai-broken", "0.3", entry_points=points, modules={"broken_report.py": "import nope"}
    )
    broken = pipeline(QUALIFIED + "reports: [{name: xai-broken:broken}]\n")
    done = shell("-v", "validate", broken, site=study_plugins)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "\nError: pipeline.yaml:6: reports[0].name: The report 'broken' of xai-broken 0.3" in done.stderr


def test_a_component_that_fails_is_named_and_leaves_nothing(
    study_plugins: Path, pipeline: Write, tmp_path: Path
) -> None:
    module = study_plugins / "study_dataset_2.py"
    source = module.read_text(encoding="utf-8").replace("return None", "raise RuntimeError('boom')")
    module.write_text(source, encoding="utf-8")
    done = shell("run", pipeline(QUALIFIED), site=study_plugins)
    assert (done.returncode, done.stdout) == (3, "")
    run, said = done.stderr.splitlines()
    assert run == f"run pipeline in {tmp_path}/study/results/pipeline"
    assert said.startswith("Error: The dataset 'invented' of ")
    assert "failed listing its scans: RuntimeError: boom. -v shows where" in said
    assert not (tmp_path / "study" / "results").exists()


def test_a_closed_pipe_is_no_error(study_plugins: Path) -> None:
    command = f"'{XAI}' schema | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("{", "")


# --- messages


def test_one_message_and_the_traceback_only_on_request(xai: Xai, tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    message = f"Error: {path} does not exist. {tmp_path} holds no YAML file.\n"
    assert xai("validate", path) == (2, "", message)
    for arguments in (("-v", "validate", path), ("validate", path, "--verbose"), ("validate", "-v", path)):
        code, out, err = xai(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("Traceback (most recent call last):")
        assert err.endswith(message)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunError("the disk is full"), 1, "Error: the disk is full\n"),
        (PluginError("lrp is broken"), 3, "Error: lrp is broken\n"),
        (
            ZeroDivisionError("division"),
            1,
            "Error: ZeroDivisionError: division\nThis is a defect, of this program or of a",
        ),
        (
            KeyboardInterrupt(),
            130,
            "Error: Interrupted. What was finished stays; the same command goes on from there.\n",
        ),
    ],
)
def test_each_error_has_its_exit_code(
    xai: Xai, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, message: str
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(Pipeline, "from_file", fail)
    found, out, err = xai("run", "pipeline.yaml")
    assert (found, out) == (code, "")
    assert err.lstrip().startswith(message)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["valdate"], "There is no command 'valdate'. Did you mean 'validate'?"),
        (["zzz"], "There is no command 'zzz'."),
        (["validate"], "Missing argument 'PIPELINE'."),
        (["run", "x.yaml", "--epochs", "many"], "Invalid value for '--epochs': 'many' is not a valid integer."),
        (["plugins", "--jsn"], "No such option"),
        (["predict", "results"], "Missing option '--image'."),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(xai: Xai, arguments: list[str], message: str) -> None:
    code, out, err = xai(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_no_arguments_show_the_help(xai: Xai) -> None:
    code, out, err = xai()
    assert code == 2
    assert "Usage: xai [OPTIONS] COMMAND [ARGS]..." in out + err


# --- help and version


def test_help_lists_every_command(xai: Xai) -> None:
    for flag in ("-h", "--help"):
        code, out, err = xai(flag)
        assert (code, err) == (0, "")
        for name, summary in COMMANDS.items():
            assert f"  {name} " in out
            assert summary in out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_a_module_with_help_and_verbose(xai: Xai, name: str) -> None:
    command = importlib.import_module(f"xai_core.cli.{name.replace('-', '_')}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert cli.get_command(click.Context(cli), name) is command
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert silent == []
    code, out, _ = xai(name, "--help")
    assert code == 0
    assert "-v, --verbose" in out


def test_version(xai: Xai) -> None:
    assert xai("--version") == (0, f"xai {xai_core.__version__}\n", "")


# --- plugins


def test_plugins_lists_the_good_the_bad_and_the_double(xai: Xai, site: Path) -> None:
    def install(package: str, name: str, source: str) -> None:
        module = package.replace("-", "_")
        points = {"xai.explainers": {name: f"{module}:Mine"}}
        fake_distribution(site, package, "1.0", entry_points=points, modules={f"{module}.py": source})

    good = component_source("Explainer")
    install("good", "fine", good)
    install("bad", "broken", "import nope")
    install("one", "twice", good)
    install("two", "twice", good)
    install("silent", "undocumented", good.replace('"""Invented Explainer."""', ""))
    registry.refresh()
    code, out, err = xai("plugins", "--json")
    assert (code, err) == (0, "")
    rows = {(row["package"], row["name"]): row for row in json.loads(out)}
    assert rows["good", "fine"] == {
        "kind": "explainer", "name": "fine", "package": "good", "version": "1.0", "target": "good:Mine",
        "summary": "Invented Explainer.", "problem": None,
    }  # fmt: skip
    assert "cannot be imported: ModuleNotFoundError: No module named 'nope'." in rows["bad", "broken"]["problem"]
    assert rows["two", "twice"]["problem"] == "another package claims this name too; write name: two:twice"
    assert rows["silent", "undocumented"]["summary"] == "", "not the docstring of the interface"
    code, out, _ = xai("plugins", "explainers")
    assert code == 0
    assert "explainer:\n" in out
    assert "  fine          Invented Explainer.  [good 1.0]\n" in out
    assert "  broken        ! The explainer 'broken' of bad 1.0 (bad:Mine) cannot be imported" in out
    assert xai("plugins", "models")[1].startswith("No components are installed.")
    assert json.loads(xai("plugins", "model", "--json")[1]) == []


def test_plugins_of_an_unknown_kind(xai: Xai, site: Path) -> None:
    code, out, err = xai("plugins", "explainor")
    assert (code, out) == (2, "")
    assert "Did you mean 'explainer'?" in err


# --- schema


def test_schema_of_pipeline_files_is_a_schema(xai: Xai, study_plugins: Path) -> None:
    code, out, err = xai("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(load_text(GOOD, "p").value)
    assert not Draft202012Validator(schema).is_valid(load_text(GOOD.replace("resnet", "alexnet"), "p").value)


def test_schema_of_one_component(xai: Xai, study_plugins: Path) -> None:
    code, out, _ = xai("schema", "splitters", "folds")
    assert code == 0
    assert json.loads(out)["properties"]["folds"]["default"] == 5
    code, out, err = xai("schema", "model")
    assert (code, out, err) == (2, "", "Error: Which model? Installed: resnet, vgg.\n")
    code, out, err = xai("schema", "model", "resnte")
    assert (code, out) == (2, "")
    assert "Did you mean 'resnet'?" in err


# --- validate


def test_validate_tells_all_problems_or_none(xai: Xai, pipeline: Write) -> None:
    path = pipeline(GOOD)
    assert xai("validate", path) == (0, f"{path} is valid.\n", "")
    assert xai("validate", path, "--deep")[0] == 0
    code, out, err = xai("validate", path, "--json")
    assert (code, json.loads(out), err) == (0, {"valid": True, "problems": []}, "")
    bad = pipeline(GOOD.replace("resnet", "resnte").replace("sgd", "sdg"))
    code, out, err = xai("validate", bad)
    assert (code, out) == (2, "")
    assert err.startswith("Error: pipeline.yaml:4: model.name: ")
    assert "\npipeline.yaml:5: training.name: " in err
    code, out, err = xai("validate", bad, "--json")
    assert (code, err) == (2, "")
    found = json.loads(out)
    assert found["valid"] is False
    assert [line.partition(": ")[0] for line in found["problems"]] == ["pipeline.yaml:4", "pipeline.yaml:5"]


def test_validate_prints_the_resolved_file(xai: Xai, pipeline: Write) -> None:
    path = pipeline(GOOD)
    code, out, err = xai("validate", path, "--resolved", "--epochs", "3")
    assert (code, err) == (0, "")
    assert out == dump(resolve(path, epochs=3).value)
    assert load_text(out, "p").value["training"]["params"]["epochs"] == 3


def test_validate_json_of_a_broken_plugin(xai: Xai, pipeline: Write, study_plugins: Path) -> None:
    (study_plugins / "study_model.py").write_text("import nope", encoding="utf-8")
    registry.refresh()
    code, out, err = xai("validate", pipeline(GOOD), "--json")
    assert (code, err) == (3, "")
    (problem,) = json.loads(out)["problems"]
    assert problem.startswith("pipeline.yaml:4: model.name: The model 'resnet' of study-plugins 2.1 (study_model:Mine)")


def test_validate_deep_builds_the_components(xai: Xai, pipeline: Write, study_plugins: Path) -> None:
    source = (study_plugins / "study_model.py").read_text(encoding="utf-8")
    refusing = source.replace("self.params = params", "raise ValueError('depth 18 needs weights')")
    (study_plugins / "study_model.py").write_text(refusing, encoding="utf-8")
    registry.refresh()
    path = pipeline(GOOD)
    assert xai("validate", path)[0] == 0
    assert xai("validate", path, "--deep") == (2, "", "Error: resnet: depth 18 needs weights\n")
    code, out, err = xai("validate", path, "--deep", "--json")
    assert (code, err) == (2, "")
    assert json.loads(out) == {"valid": False, "problems": ["resnet: depth 18 needs weights"]}


# --- the commands that work, with toy components


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a study, its pipeline and its finished run ``results/toy``."""
    folder = tmp_path_factory.mktemp("finished")
    write_toy_study(folder / "study")
    (folder / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    register_toys()
    Pipeline.from_file(folder / "toy.yaml").run()
    return folder


def test_run_prints_metrics_and_where_they_are(xai: Xai, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    code, out, err = xai("run", "toy.yaml")
    assert code == 0, err
    assert out.startswith("Test metrics (8 scans, 2 folds; 95 % intervals):\n  accuracy  ")
    assert out.endswith("Results: results/toy\nReport:  results/toy/report/index.txt\n")
    code, out, _ = xai("run", "toy.yaml", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["folder"] == str(finished / "results" / "toy")
    assert found["reports"] == [str(finished / "results" / "toy" / "report" / "index.txt")]
    assert found["metrics"] == json.loads((finished / "results/toy/metrics.json").read_text(encoding="utf-8"))["test"]


def test_train_stops_before_the_maps(xai: Xai, finished: Path, tmp_path: Path) -> None:
    code, out, err = xai("train", finished / "toy.yaml", "--output", tmp_path, "--name", "t", "--epochs", "1", "--json")
    assert code == 0, err
    assert json.loads(out)["folder"] == str(tmp_path / "t")
    assert json.loads(out)["reports"] == []
    assert (tmp_path / "t" / "metrics.json").is_file()
    assert not list((tmp_path / "t").glob("derivatives/sub-*"))
    assert not (tmp_path / "t" / "report").exists()


def test_another_configuration_in_the_folder_is_exit_code_2(xai: Xai, finished: Path) -> None:
    code, out, err = xai("run", finished / "toy.yaml", "--epochs", "3")
    assert (code, out) == (2, "")
    assert "training.params.epochs: 2 there, 3 here" in err
    assert "Give this run another --name" in err


def test_predict(xai: Xai, finished: Path) -> None:
    scan = finished / "study" / "a0.nii.gz"
    code, out, err = xai("predict", finished / "results" / "toy", "--image", scan, "--image", scan, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert len(rows) == 2
    assert rows[0]["probability_a"] + rows[0]["probability_b"] == pytest.approx(1)
    code, out, _ = xai("predict", finished / "results" / "toy", "--image", scan)
    assert f"probability_a: {rows[0]['probability_a']:.4f}" in out


def test_explain_a_scan(xai: Xai, finished: Path, tmp_path: Path) -> None:
    scan = finished / "study" / "b1.nii.gz"
    run = finished / "results" / "toy"
    code, out, err = xai("explain", run, "--image", scan, "--target", "b", "--output", tmp_path / "maps", "--json")
    assert code == 0, err
    found = json.loads(out)
    names = ("b1_desc-toy_relevance.json", "b1_desc-toy_relevance.nii.gz")
    assert found["files"] == [str(tmp_path / "maps" / name) for name in names]
    assert found["maps"]["toy"]["target_name"] == "b"
    assert nib.load(found["files"][1]).shape == nib.load(scan).shape
    code, out, _ = xai("explain", run, "--image", scan, "--output", tmp_path / "maps")
    assert code == 0
    assert out.splitlines()[-1].endswith("maps/b1_desc-toy_relevance.nii.gz")


def test_explain_the_test_people(xai: Xai, finished: Path) -> None:
    run = finished / "results" / "toy"
    code, out, _ = xai("explain", run)
    assert (code, out.partition(" in ")[0]) == (0, "8 maps")
    code, out, _ = xai("explain", run, "--json")
    assert json.loads(out) == {"folder": str(run / "derivatives"), "maps": 8}
    code, out, err = xai("explain", run, "--target", "a")
    assert (code, out) == (2, "")
    assert "belong to --image" in err


def test_report_again(xai: Xai, finished: Path) -> None:
    page = finished / "results" / "toy" / "report" / "index.txt"
    page.unlink()
    code, out, err = xai("report", finished / "results" / "toy")
    assert (code, out) == (0, f"{short(page)}\n"), err
    assert page.read_text(encoding="utf-8") == "8 maps\n"


@pytest.mark.parametrize("command", [["predict", "--image", "x.nii"], ["explain"], ["report"]])
def test_a_folder_that_is_no_run_is_exit_code_2(xai: Xai, tmp_path: Path, command: list[str]) -> None:
    code, out, err = xai(command[0], tmp_path, *command[1:])
    assert (code, out) == (2, "")
    assert str(tmp_path) in err
    assert "Traceback" not in err


def test_a_missing_image_is_exit_code_2(xai: Xai, finished: Path) -> None:
    for command in ("predict", "explain"):
        code, out, err = xai(command, finished / "results" / "toy", "--image", finished / "absent.nii.gz")
        assert (code, out) == (2, ""), err
        assert "absent.nii.gz" in err
    code, _, err = xai("predict", finished / "results" / "toy", "--image", "x.nii", "--fold", "7")
    assert code == 2, err


# --- small things


def test_metric_lines() -> None:
    metrics: dict[str, Any] = {
        "auc": {"value": 0.91234, "low": 0.8, "high": 0.97},
        "sensitivity": {"value": None},
        "mae": {"value": 3.0},
        "confusion": [[1, 2], [3, 4]],
    }
    assert metric_lines(metrics) == [
        "  auc          0.912  [0.800, 0.970]",
        "  sensitivity  not defined",
        "  mae          3.000",
    ]
    assert metric_lines({}) == []


def test_short_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert short(tmp_path / "a" / "b") == "a/b"
    assert short(Path("a")) == "a"
    assert short(tmp_path.parent / "x") == str(tmp_path.parent / "x")
