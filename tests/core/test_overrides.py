"""Changes from the command line: what they change, where paths start, and whom a problem is blamed on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from xai_core import ConfigError
from xai_core.config.overrides import apply_overrides, parse_set, short_options
from xai_core.config.resolve import resolve

Write = Callable[[str], Path]

TEXT = """version: 1
data:
  name: table
  params: {table: people.tsv, target: sex}
  transforms: [{name: scale}]
split: {name: folds}
model: {name: resnet, params: {depth: 10}}
training: {name: sgd}
explainers:
  - {name: lrp, params: {epsilon: 1e-3}}
  - {id: cam.last, name: gradcam}
"""

CONFIG: dict[str, Any] = {
    "seed": 1,
    "model": {"name": "resnet", "params": {"depth": 10}},
    "split": None,
    "explainers": [{"name": "lrp"}, {"id": "cam.last", "name": "gradcam"}, {"id": "3", "name": "gradcam"}],
}


def changed(*sets: str) -> dict[str, Any]:
    config = deepcopy(CONFIG)
    apply_overrides(config, [parse_set(text) for text in sets])
    return config


def refused(*sets: str) -> str:
    with pytest.raises(ConfigError) as error:
        changed(*sets)
    return str(error.value)


def problems(path: Path, *sets: str, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        resolve(path, sets, **options)
    return list(error.value.problems)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("seed=2", ("seed",)),
        ("model.params.depth=2", ("model", "params", "depth")),
        ("explainers.0.id=2", ("explainers", 0, "id")),
        ("explainers[0].id=2", ("explainers", 0, "id")),
        ("explainers[0]=2", ("explainers", 0)),
        ("explainers.lrp.id=2", ("explainers", "lrp", "id")),
        ("explainers[cam.last].params.layer=2", ("explainers", "cam.last", "params", "layer")),
        (" seed =2", ("seed",)),
    ],
)
def test_the_path_of_a_change(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_set(text) == (path, 2, f"--set {text}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("on", "on"), ("true", True), ("", None), ("null", None), ("''", ""), ("'10'", "10"),
        ("a b", "a b"),
        ("[1, x]", [1, "x"]), ("{name: lrp, params: {epsilon: 1}}", {"name": "lrp", "params": {"epsilon": 1}}),
        ("a=b", "a=b"), ("/data/x.tsv", "/data/x.tsv"), ("0o17", 15), ("1\n", 1),
    ],
)  # fmt: skip
def test_the_value_is_yaml(text: str, value: Any) -> None:
    found = parse_set(f"seed={text}")[1]
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize(
    "text", ["seed", "", "=1", ".seed=1", "seed.=1", "a..b=1", "[0]=1", "a[]=1", "a[b.c=1", "a]b=1", "a[0]b]=1"]
)
def test_a_change_without_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must have the form section\.key=value, such as model\.params\.depth=10\."):
        parse_set(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=[1, 2", "--set a:1: not valid YAML"),
        ("a={x: 1, x: 2}", "--set a:1: the key 'x' is there twice"),
        ("a=!!python/name:os.system", "is not allowed"),
        ("a=.nan", "--set a:1: .nan is not a finite number."),
        ("a=b: c: d", "--set a:1: not valid YAML"),
    ],
)
def test_a_value_that_is_not_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_set(text)
    assert message in str(error.value)


def test_nested_values_are_changed_and_sections_begun() -> None:
    assert changed("model.params.depth=18")["model"]["params"] == {"depth": 18}
    assert changed("split.params.folds=3")["split"] == {"params": {"folds": 3}}
    assert changed("training.params.epochs=1")["training"] == {"params": {"epochs": 1}}
    assert changed("seed=1", "seed=2")["seed"] == 2
    assert changed("seed=")["seed"] is None
    assert changed("model.params={}", "model.params.width=2")["model"]["params"] == {"width": 2}


def test_list_entries_by_index_and_by_id() -> None:
    assert changed("explainers.0.id=x")["explainers"][0] == {"name": "lrp", "id": "x"}
    assert changed("explainers.lrp.params.a=1")["explainers"][0] == {"name": "lrp", "params": {"a": 1}}
    assert changed("explainers[cam.last].name=x")["explainers"][1] == {"id": "cam.last", "name": "x"}
    assert changed("explainers[1]={name: new}")["explainers"][1] == {"name": "new"}
    assert changed("explainers.3.name=x")["explainers"][2] == {"id": "3", "name": "x"}, "an id that looks like an index"
    assert changed("explainers=[]")["explainers"] == []


@pytest.mark.parametrize("key", ["7", "gradcam", "-1", "\u00b2", "nobody"])
def test_an_absent_list_entry_tells_what_is_there(key: str) -> None:
    message = refused(f"explainers.{key}.id=x")
    assert message.startswith(f"--set explainers.{key}.id=x: explainers has no entry ")
    assert message.endswith("There is 0: lrp, 1: cam.last, 2: 3.")


def test_a_path_through_a_scalar_is_refused() -> None:
    assert refused("seed.a=1") == "--set seed.a=1: seed is 1, which has no parts."
    assert refused("model.name.a.b=1") == "--set model.name.a.b=1: model.name is 'resnet', which has no parts."


def test_changes_are_known_by_their_real_place() -> None:
    changes = [parse_set(text) for text in ("explainers.lrp.id=x", "seed=1", "model.params.1=2", "seed=3")]
    assert apply_overrides(deepcopy(CONFIG), changes) == {
        ("explainers", 0, "id"): "--set explainers.lrp.id=x",
        ("model", "params", "1"): "--set model.params.1=2",
        ("seed",): "--set seed=3",
    }


# --- in a file


def test_a_problem_is_blamed_on_the_change_that_made_it(pipeline: Write) -> None:
    path = pipeline(TEXT)
    assert problems(path, "model.params.depth=x", "training.params.epochs=0") == [
        "--set model.params.depth=x: model.params.depth: 'x' is not one of 10, 18.",
        "--set training.params.epochs=0: training.params.epochs: must be at least 1, not 0.",
    ]
    (problem,) = problems(path, "explainers.lrp.params.composite=x")
    assert problem.startswith(
        "--set explainers.lrp.params.composite=x: explainers[0].params.composite: 'x' is not one of"
    )
    (problem,) = problems(path, "model.params.depth=x", model="resnet")
    assert problem.startswith("--set model.params.depth=x: ")
    (problem,) = problems(path, "model.params.depth=10", "model.params={depth: x}")
    assert problem.startswith("--set model.params={depth: x}: model.params.depth: ")
    (problem,) = problems(path, "model.params.depth=1", "model.params={}", "model.params.depth=2")
    assert problem.startswith("--set model.params.depth=2: ")
    (problem,) = problems(path, "modle.params.depth=10")
    assert problem.startswith("--set modle.params.depth=10: modle: unknown key. Did you mean 'model'?")
    (problem,) = problems(path, "seed=")
    assert problem == "--set seed=: seed: must be an integer, not null."
    (problem,) = problems(path, "explainers=lrp")
    assert problem == "--set explainers=lrp: explainers: must be a list, not 'lrp'."


def test_a_problem_of_the_file_stays_with_the_file(pipeline: Write) -> None:
    text = TEXT.replace("target: sex", "target: 5")
    (problem,) = problems(pipeline(text), "data.params.table=x.tsv", "seed=1")
    assert problem == "pipeline.yaml:4: data.params.target: must be a text, not 5."


def test_paths_start_where_they_are_written(pipeline: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file at the file's folder, on the command line at the working folder."""
    path = pipeline(TEXT)
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.tsv").touch()
    (here / "bids").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def params(*sets: str, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = resolve(path, sets, **options).value["data"]["params"]
        return found

    assert params()["table"] == str(tmp_path / "study" / "people.tsv")
    assert params("data.params.table=other.tsv")["table"] == str(here / "other.tsv")
    assert params("data.params={table: other.tsv}")["table"] == str(here / "other.tsv")
    assert params("data={name: table, params: {table: a/../b.tsv}}")["table"] == str(here / "b.tsv")
    assert params("data.params.table=/abs.tsv")["table"] == "/abs.tsv"
    assert params("data.params.table=~/x.tsv")["table"] == str(tmp_path / "home" / "x.tsv")
    assert params("data.params.table=~nobody-has-this-name/x")["table"] == str(here / "~nobody-has-this-name" / "x")
    assert params(data="mine.tsv") == {"table": str(here / "mine.tsv"), "bids": None, "target": "sex"}
    assert params(data="bids")["bids"] == str(here / "bids")
    assert params(data=str(here / "bids"))["bids"] == str(here / "bids")
    transforms = resolve(path, ["data.transforms.scale.params.grid=t1.nii"]).value["data"]["transforms"]
    assert transforms[0]["params"]["grid"] == str(here / "t1.nii")
    assert resolve(path).value["output"] == str(tmp_path / "study" / "results")
    assert resolve(path, output="out").value["output"] == str(here / "out")
    assert resolve(path, ["output=out"]).value["output"] == str(here / "out")
    assert type(resolve(path, ["output=out"]).value["output"]) is str


def test_variables_in_a_change_are_replaced(pipeline: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("STUDY", "/data")
    path = pipeline(TEXT.replace("table: people.tsv", "table: '${UNSET}/p.tsv'"))
    assert resolve(path, ["data.params.table=${STUDY}/q.tsv"]).value["data"]["params"]["table"] == "/data/q.tsv"
    (problem,) = problems(path, "data.params.table=${UNSET}/q.tsv")
    assert problem.startswith(
        "--set data.params.table=${UNSET}/q.tsv: data.params.table: the environment variable UNSET"
    )


# --- short options


def test_simple_short_options(pipeline: Write) -> None:
    found = resolve(pipeline(TEXT), name="007", device="cuda:1", epochs=3, model=None).value
    assert found["name"] == "007"
    assert found["device"] == "cuda:1"
    assert found["training"]["params"] == {"epochs": 3, "learning_rate": 1e-4}
    assert found["model"]["params"]["depth"] == 10


def test_set_wins_over_a_short_option(pipeline: Write) -> None:
    assert resolve(pipeline(TEXT), ["training.params.epochs=4"], epochs=3).value["training"]["params"]["epochs"] == 4


def test_another_model_begins_with_its_own_defaults(pipeline: Write) -> None:
    path = pipeline(TEXT)
    assert resolve(path, model="vgg").value["model"] == {"name": "vgg", "params": {"blocks": 4}}
    assert resolve(path, ["model.params.blocks=2"], model="vgg").value["model"]["params"] == {"blocks": 2}
    assert resolve(path, model="resnet").value["model"]["params"]["depth"] == 10, "the same model keeps its parameters"
    (problem,) = problems(path, model="resnte")
    assert problem.startswith("--model resnte: model.name: There is no model named 'resnte'. Did you mean 'resnet'?")


def test_another_dataset_keeps_the_preprocessing(pipeline: Write) -> None:
    found = resolve(pipeline(TEXT), data="invented").value["data"]
    assert found == {
        "name": "invented",
        "params": {"people": 8},
        "transforms": [{"id": "scale", "name": "scale", "params": {"grid": 2}}],
    }


@pytest.mark.parametrize("value", ["absent.tsv", "a/b", "..\\x"])
def test_data_that_is_not_there_is_refused(pipeline: Write, value: str) -> None:
    (problem,) = problems(pipeline(TEXT), data=value)
    assert problem == f"--data {value}: there is no such file or folder, and it is no name of a dataset either."


def test_an_unknown_dataset_is_refused(pipeline: Write) -> None:
    (problem,) = problems(pipeline(TEXT), data="inventd")
    assert problem.startswith(
        "--data inventd: data.name: There is no dataset named 'inventd'. Did you mean 'invented'?"
    )


def test_a_short_option_may_begin_a_section() -> None:
    changes = short_options({"model": "vgg", "epochs": 2}, {})
    config: dict[str, Any] = {}
    apply_overrides(config, changes)
    assert config == {"training": {"params": {"epochs": 2}}, "model": {"name": "vgg", "params": {}}}


def test_a_short_option_on_a_section_that_is_no_mapping(pipeline: Write) -> None:
    path = pipeline(TEXT.replace("{name: resnet, params: {depth: 10}}", "resnet"))
    assert problems(path, model="vgg") == ["--model vgg: model is 'resnet', which has no parts."]


def test_an_option_that_does_not_exist_is_not_passed_over() -> None:
    with pytest.raises(TypeError, match="no option is called 'epoch'; there are name, model, data, epochs"):
        short_options({"epoch": 3}, {})
