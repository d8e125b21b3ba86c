"""From a pipeline file to a resolved configuration: every problem at once and placed, every default filled in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from xai_core import ConfigError, PluginError, registry
from xai_core.config.resolve import resolve
from xai_core.config.strictyaml import dump, load_text
from xai_core.config.structure import SLOTS, STRUCTURE, composed_schema
from xai_core.interfaces import KINDS
from xai_core.testing import fake_distribution

Write = Callable[[str], Path]

GOOD = """version: 1
data:
  name: table
  params: {table: people.tsv}
  transforms: [{name: scale}, {name: scale, params: {grid: [1, 2, 3]}}]
split: {name: folds}
model: {name: resnet, params: {depth: 10}}
training: {name: sgd, params: {learning_rate: 1e-3}}
explainers:
  - {name: lrp}
  - {id: lrp-epsilon, name: study-plugins:lrp, params: {composite: epsilon}}
evaluators: [{name: perturb}]
analyses: [{name: regions, params: {atlas: ../atlas.nii.gz}}]
reports: [{name: html}]
"""


def problems(path: Path, *sets: str, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        resolve(path, sets, **options)
    return list(error.value.problems)


def test_a_good_file_is_completed(pipeline: Write, tmp_path: Path) -> None:
    found = resolve(pipeline(GOOD)).value
    assert list(found)[:5] == ["version", "name", "seed", "device", "output"]
    assert found == {
        "version": 1, "name": "pipeline", "seed": 42, "device": "auto", "output": str(tmp_path / "study" / "results"),
        "quality": True,
        "data": {
            "name": "table",
            "params": {"table": str(tmp_path / "study" / "people.tsv"), "bids": None, "target": "diagnosis"},
            "transforms": [
                {"name": "scale", "params": {"grid": 2}, "id": "scale"},
                {"name": "scale", "params": {"grid": [1, 2, 3]}, "id": "scale"},
            ],
        },
        "split": {"name": "folds", "params": {"folds": 5}},
        "model": {"name": "resnet", "params": {"depth": 10, "width": 1.0, "weights": None}},
        "training": {"name": "sgd", "params": {"epochs": 30, "learning_rate": 1e-3}},
        "explainers": [
            {"id": "lrp", "name": "lrp",
             "params": {"composite": "epsilon-plus", "epsilon": 1e-6, "layers": ["a", "b"]}},
            {"id": "lrp-epsilon", "name": "study-plugins:lrp",
             "params": {"composite": "epsilon", "epsilon": 1e-6, "layers": ["a", "b"]}},
        ],
        "evaluators": [{"name": "perturb", "params": {}, "id": "perturb"}],
        "analyses": [{"name": "regions", "params": {"atlas": str(tmp_path / "atlas.nii.gz")}, "id": "regions"}],
        "reports": [{"name": "html", "params": {}, "id": "html"}],
    }  # fmt: skip


def test_the_resolved_file_resolves_to_itself(pipeline: Write, tmp_path: Path) -> None:
    first = resolve(pipeline(GOOD + 'name: "1e3"\n')).value
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("pipeline.resolved.yaml", "copy.yaml"):
        (folder / name).write_text(dump(first), encoding="utf-8")
        second = resolve(folder / name).value
        assert second == first
        assert dump(second) == dump(first)


def test_the_name_of_the_file_is_the_name_of_the_run(pipeline: Write) -> None:
    path = pipeline(GOOD)
    for file, name in (
        ("adni 3.yaml", "adni-3"), ("_a.b.yml", "a.b"), ("\u00e9.yaml", "run"), ("x.resolved.yaml", "x"),
    ):  # fmt: skip
        other = path.rename(path.with_name(file))
        found = resolve(other).value
        assert found["name"] == name
        path = other


def test_the_caller_may_change_what_is_returned(pipeline: Write) -> None:
    path = pipeline(GOOD)
    resolve(path).value["explainers"][0]["params"]["layers"].append("c")
    resolve(path).value["model"]["params"]["depth"] = 99
    again = resolve(path).value
    assert again["explainers"][0]["params"]["layers"] == ["a", "b"]
    assert again["model"]["params"]["depth"] == 10


BAD = """version: 2
seed: 1e-4
devise: cpu
data: table
split: {name: folds, parms: {}}
model: {name: resnet, params: {depht: 18, width: 0}}
training: {name: sdg}
explainers:
  - name: lrp
    params:
      composite: epsilon-pls
  - lrp
  - {name: gradcam, id: LRP}
analyses:
  - {name: regions}
"""


PROBLEMS = """
pipeline.yaml:1: version: must be 1, not 2.
pipeline.yaml:2: seed: must be an integer, not 0.0001.
pipeline.yaml:3: devise: unknown key. Did you mean 'device'? Known here: analyses, data, device, evaluators, executor,
 explainers, model, name, output, per_fold, quality, reports, seed, split, training, version.
pipeline.yaml:4: data: must be a mapping, not 'table'. Write it as {name: ..., params: {...}}.
pipeline.yaml:5: split.parms: unknown key. Did you mean 'params'? Known here: name, params.
pipeline.yaml:6: model.params.depht: unknown parameter. Did you mean 'depth'? Known here: depth, weights, width.
pipeline.yaml:6: model.params.width: must be greater than 0, not 0.
pipeline.yaml:7: training.name: There is no trainer named 'sdg'. Did you mean 'sgd'? Installed trainers: sgd.
pipeline.yaml:11: explainers[0].params.composite: 'epsilon-pls' is not one of 'epsilon', 'epsilon-plus'. Did you mean
 'epsilon-plus'?
pipeline.yaml:12: explainers[1]: must be a mapping, not 'lrp'. Write it as {name: ..., params: {...}}.
pipeline.yaml:13: explainers[2]: a second explainer with the id 'LRP' (too close to 'lrp'). Give one of them another id.
pipeline.yaml:15: analyses[0].params.atlas: is required but missing.
"""


def test_every_problem_is_reported_at_once_with_its_line(pipeline: Write) -> None:
    assert problems(pipeline(BAD)) == PROBLEMS.replace("\n ", " ").strip().splitlines()


def test_missing_sections_are_named(pipeline: Write) -> None:
    assert problems(pipeline("name: a\n")) == [
        f"pipeline.yaml:1: {name}: is required but missing."
        for name in ("data", "model", "split", "training", "version")
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[{name: html}]", "html", "14: reports: must be a list, not 'html'."),
        ("[{name: html}]", "", "14: reports: must be a list, not null."),
        ("[{name: html}]", "{name: html}", "14: reports: must be a list, not {'name': 'html'}."),
        ("{name: folds}", "{name: 5}", "6: split.name: must be a text, not 5."),
        ("{name: folds}", "{name: folds, params: [5]}", "6: split.params: must be a mapping, not [5]."),
        ("{name: folds}", "{params: {folds: 5}}", "6: split.name: is required but missing."),
        ("{name: folds}", "{name: folds, id: a}", "6: split.id: unknown key. Known here: name, params."),
        (
            "{name: folds}",
            "{name: folds, params: {folds: true}}",
            "6: split.params.folds: must be an integer, not true.",
        ),
        ("{name: folds}", "{name: folds, params: {folds: 4.0}}", "6: split.params.folds: must be an integer, not 4.0."),
        ("{name: folds}", "{name: folds, params: {folds: '4'}}", "6: split.params.folds: must be an integer, not '4'."),
        ("{name: folds}", "{name: folds, params: {folds: 1}}", "6: split.params.folds: must be at least 2, not 1."),
        ("depth: 10", "depth: 50", "7: model.params.depth: 50 is not one of 10, 18."),
        ("version: 1", "version: '1'", "1: version: must be 1, not '1'."),
        ("version: 1", "version: 1\nseed: -1", "2: seed: must be at least 0, not -1."),
        ("version: 1", "version: 1\nseed: 42.0", "2: seed: must be an integer, not 42.0."),
        ("version: 1", "version: 1\noutput: ''", "2: output: needs at least 1 characters, not 0."),
    ],
)
def test_a_wrong_value_is_placed_and_explained(pipeline: Write, old: str, new: str, problem: str) -> None:
    assert GOOD.count(old) == 1
    assert f"pipeline.yaml:{problem}" in problems(pipeline(GOOD.replace(old, new)))


@pytest.mark.parametrize("name", ["a/b", "../x", ".hidden", "a b", "", "a\\n", "\u00e9"])
def test_a_name_that_cannot_name_a_folder_is_refused(pipeline: Write, name: str) -> None:
    (problem,) = problems(pipeline(f'name: "{name}"\n' + GOOD))
    assert problem.startswith("pipeline.yaml:1: name: ")
    assert "does not have the form" in problem
    (problem,) = problems(pipeline(GOOD.replace("id: lrp-epsilon", f'id: "{name}"')))
    assert problem.startswith("pipeline.yaml:11: explainers[1].id: ")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "cpu\\n"])
def test_an_unknown_device_is_refused(pipeline: Write, device: str) -> None:
    (problem,) = problems(pipeline(f'device: "{device}"\n' + GOOD))
    assert problem.startswith("pipeline.yaml:1: device: ")
    assert problem.endswith("Expected: auto (a GPU where there is one), cpu, cuda, cuda:1 or mps.")


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:11"])
def test_a_known_device_is_accepted(pipeline: Write, device: str) -> None:
    assert resolve(pipeline(f"device: {device}\n" + GOOD)).value["device"] == device


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("{name: lrp}", "{name: lrp}", "a second explainer with the id 'lrp'."),
        ("{name: lrp}", "{name: 'study-plugins:lrp'}", "a second explainer with the id 'lrp'."),
        ("{name: lrp}", "{name: gradcam, id: lrp}", "a second explainer with the id 'lrp'."),
        ("{name: lrp, id: lrp-1}", "{name: lrp, id: lrp_1}", "with the id 'lrp_1' (too close to 'lrp-1')."),
        ("{name: lrp, id: A}", "{name: lrp, id: a}", "with the id 'a' (too close to 'A')."),
    ],
)
def test_maps_of_two_explainers_never_share_a_name(pipeline: Write, first: str, second: str, problem: str) -> None:
    text = "version: 1\ndata: {name: invented}\nsplit: {name: folds}\nmodel: {name: vgg}\ntraining: {name: sgd}\n"
    (found,) = problems(pipeline(f"{text}explainers:\n  - {first}\n  - {second}\n"))
    assert found.startswith("pipeline.yaml:8: explainers[1]: ")
    assert problem in found


def test_ids_of_different_kinds_may_be_equal(pipeline: Write) -> None:
    text = GOOD.replace("[{name: html}]", "[{name: html, id: lrp}]")
    assert resolve(pipeline(text)).value["reports"][0]["id"] == "lrp"


def test_a_registry_name_that_cannot_name_a_file_needs_an_id(pipeline: Write, study_plugins: Path) -> None:
    points = {"xai.explainers": {"my/lrp": "study_explainer:Mine"}}
    fake_distribution(study_plugins, "slash", entry_points=points)
    registry.refresh()
    text = GOOD.replace("  - {name: lrp}", "  - {name: my/lrp}")
    (problem,) = problems(pipeline(text))
    assert problem.startswith("pipeline.yaml:10: explainers[0]: 'my/lrp' cannot name a file. Give an id ")
    assert resolve(pipeline(text.replace("my/lrp", "my/lrp, id: mine"))).value["explainers"][0]["id"] == "mine"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty."),
        ("# later\n", "is empty."),
        ("- a\n", "does not hold a mapping."),
        ("hello\n", "does not hold"),
    ],
)
def test_a_file_without_a_mapping_says_how_to_begin(pipeline: Write, text: str, problem: str) -> None:
    path = pipeline(text)
    (found,) = problems(path, "name=x")
    assert found.startswith(f"{path} {problem}")
    assert "version: 1" in found


# --- environment variables


def with_table(text: str) -> str:
    return GOOD.replace("table: people.tsv", f"table: {text}")


def table(path: Path, *sets: str) -> str:
    return str(resolve(path, sets).value["data"]["params"]["table"])


def test_variables_are_replaced_in_texts(pipeline: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDY", "/data")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("N", "3")
    study = tmp_path / "study"
    for text, expected in (
        ('"${STUDY}/p.tsv"', "/data/p.tsv"),
        ('"${STUDY}${STUDY}"', "/data/data"),
        ('"${UNSET:-/other}/p.tsv"', "/other/p.tsv"),
        ('"${EMPTY:-/other}/p.tsv"', "/other/p.tsv"),
        ('"x${UNSET:-}y"', f"{study}/xy"),
        ('"${UNSET:-a:-b}"', f"{study}/a:-b"),
        ('"$${STUDY}/p.tsv"', f"{study}/${{STUDY}}/p.tsv"),
        ('"$STUDY"', f"{study}/$STUDY"),
    ):
        assert table(pipeline(with_table(text))) == expected, text
    lists = GOOD.replace("{name: lrp}", '{name: lrp, params: {layers: ["${N}", b]}}')
    assert resolve(pipeline(lists)).value["explainers"][0]["params"]["layers"] == ["3", "b"]


def test_a_variable_stays_a_text(pipeline: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a variable holds cannot become a number, a list or a tag."""
    monkeypatch.setenv("N", "3")
    (problem,) = problems(pipeline(GOOD.replace("{name: folds}", '{name: folds, params: {folds: "${N}"}}')))
    assert problem == "pipeline.yaml:6: split.params.folds: must be an integer, not '3'."
    monkeypatch.setenv("N", "${HOME}")
    assert resolve(pipeline(with_table('"/${N}"'))).value["data"]["params"]["table"] == "/${HOME}"


def test_variables_in_keys_are_not_replaced(pipeline: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "seed")
    (problem,) = problems(pipeline(GOOD + '"${KEY}": 1\n'))
    assert problem.startswith("pipeline.yaml:15: ${KEY}: unknown key.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET}", "the environment variable UNSET is not set. Set it, or write ${UNSET:-default}."),
        ("${EMPTY}", "the environment variable EMPTY is empty. Set it, or write ${EMPTY:-default}."),
        ("${}", "'${}' is no environment variable. Write ${NAME} or ${NAME:-default}, or $${ for the text ${."),
        ("${1X}", "'${1X}' is no environment variable."),
        ("${UNSET-x}", "'${UNSET-x}' is no environment variable."),
        ("${UNSET", "'${UNSET' is no environment variable."),
        ("${UNSET:-${HOME}}", "'${UNSET:-${HOME}' is no environment variable."),
    ],
)
def test_a_wrong_variable_is_placed(pipeline: Write, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (problem,) = problems(pipeline(with_table(f'"a/{text}"')))
    assert problem.startswith(f"pipeline.yaml:4: data.params.table: {message}")


def test_a_dollar_in_the_resolved_file_is_a_text(pipeline: Write, tmp_path: Path) -> None:
    """``$${X}`` became ``${X}``: opening the run folder must not take it for a variable."""
    first = resolve(pipeline(with_table('"/a/$${NOT_A_VARIABLE}"'))).value
    saved = tmp_path / "pipeline.resolved.yaml"
    saved.write_text(dump(first), encoding="utf-8")
    assert resolve(saved).value == first


# --- plugins


def test_a_broken_plugin_alone_is_a_plugin_error(pipeline: Write, study_plugins: Path) -> None:
    points = {"xai.reports": {"broken": "broken_report:Mine"}}
    fake_distribution(
        study_plugins, "xai-broken", "0.3", entry_points=points, modules={"broken_report.py": "import nope"}
    )
    registry.refresh()
    text = GOOD.replace("[{name: html}]", "[{name: broken}]")
    with pytest.raises(PluginError) as error:
        resolve(pipeline(text))
    assert str(error.value) == (
        "pipeline.yaml:14: reports[0].name: The report 'broken' of xai-broken 0.3 (broken_report:Mine) cannot be "
        "imported: ModuleNotFoundError: No module named 'nope'. Repair or uninstall xai-broken."
    )
    both = problems(pipeline(text.replace("depth: 10", "depth: 11")))
    assert [line.partition(" ")[0] for line in both] == ["pipeline.yaml:7:", "pipeline.yaml:14:"]


def test_a_name_of_two_packages_is_placed(pipeline: Write, study_plugins: Path) -> None:
    fake_distribution(study_plugins, "other", "7", entry_points={"xai.models": {"resnet": "study_model_2:Mine"}})
    registry.refresh()
    (problem,) = problems(pipeline(GOOD))
    assert problem.startswith("pipeline.yaml:7: model.name: Two packages claim the model 'resnet': ")
    text = GOOD.replace("{name: resnet, params: {depth: 10}}", "{name: 'other:resnet', params: {blocks: 2}}")
    assert resolve(pipeline(text)).value["model"] == {"name": "other:resnet", "params": {"blocks": 2}}


# --- the schema for editors


def editor(text: str) -> list[str]:
    """What an editor with the printed schema marks, judged by jsonschema alone."""
    schema = json.loads(json.dumps(composed_schema()))
    Draft202012Validator.check_schema(schema)
    found = Draft202012Validator(schema).iter_errors(load_text(text, "p").value)
    return sorted(".".join(map(str, error.absolute_path)) + ": " + error.message for error in found)


def test_the_composed_schema_accepts_a_good_file(pipeline: Write) -> None:
    assert editor(GOOD) == []
    assert editor(dump(resolve(pipeline(GOOD)).value)) == []


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("depth: 10", "depth: 11", "model.params.depth"),
        ("depth: 10", "depht: 10", "model.params"),
        ("{name: resnet, params: {depth: 10}}", "{name: vgg, params: {depth: 10}}", "model.params"),
        ("name: sgd", "name: adam", "training.name"),
        ("learning_rate: 1e-3", "learning_rate: fast", "training.params.learning_rate"),
        ("composite: epsilon", "composite: gamma", "explainers.1.params.composite"),
        ("{name: regions, params: {atlas: ../atlas.nii.gz}}", "{name: regions}", "analyses.0"),
        ("{name: scale}", "scale", "data.transforms.0"),
        ("version: 1", "version: 1\nfoo: 1", ""),
        ("split: {name: folds}\n", "", ""),
    ],
)
def test_the_composed_schema_refuses_a_bad_file(study_plugins: Path, old: str, new: str, place: str) -> None:
    assert GOOD.count(old) == 1
    marks = editor(GOOD.replace(old, new))
    assert len(marks) == 1
    assert marks[0].startswith(f"{place}: ")


def test_a_broken_plugin_does_not_take_the_schema_from_the_others(study_plugins: Path) -> None:
    fake_distribution(study_plugins, "broken", entry_points={"xai.models": {"broken": "no_such_module:Mine"}})
    fake_distribution(study_plugins, "second", entry_points={"xai.models": {"vgg": "study_model_2:Mine"}})
    registry.refresh()
    names = composed_schema()["properties"]["model"]["properties"]["name"]["enum"]
    assert set(names) == {"resnet", "study-plugins:resnet", "second:vgg", "study-plugins:vgg"}
    assert editor(GOOD) == []


def test_composing_leaves_the_structure_alone(study_plugins: Path) -> None:
    before = json.dumps(STRUCTURE)
    composed_schema()
    assert json.dumps(STRUCTURE) == before


def test_every_kind_has_a_slot() -> None:
    assert {slot.kind for slot in SLOTS} == set(KINDS)
