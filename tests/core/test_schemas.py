"""JSON Schema of parameters: every problem in plain words, defaults, paths."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from xai_core.schemas import CommandLineText, did_you_mean, fill_defaults, problems_of, resolve_paths, schema_error

Schema = dict[str, Any]


def of(**properties: Mapping[str, Any]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def messages(prop: Mapping[str, Any], value: Any) -> list[str]:
    found = problems_of(of(x=prop), {"x": value})
    assert all(path[0] == "x" for path, _ in found)
    return [message for _, message in found]


@pytest.mark.parametrize(
    ("prop", "value", "message"),
    [
        ({"type": "integer"}, "3", "must be an integer, not '3'."),
        ({"type": "integer"}, True, "must be an integer, not true."),
        ({"type": "integer"}, 3.0, "must be an integer, not 3.0."),
        ({"type": "number"}, False, "must be a number, not false."),
        ({"type": "number"}, None, "must be a number, not null."),
        ({"type": ["string", "null"]}, 3, "must be a text or null, not 3."),
        ({"type": "array"}, {}, "must be a list, not {}."),
        ({"type": "object"}, [], "must be a mapping, not []."),
        ({"type": "boolean"}, "on", "must be true or false, not 'on'."),
        ({"enum": ["a", 1, None]}, "b", "'b' is not one of 'a', 1, null."),
        ({"enum": ["epsilon-plus"]}, "epsilon_plus", "Did you mean 'epsilon-plus'?"),
        ({"const": 1}, 2, "must be 1, not 2."),
        ({"minimum": 0}, -1, "must be at least 0, not -1."),
        ({"maximum": 1}, 2, "must be at most 1, not 2."),
        ({"exclusiveMinimum": 0}, 0, "must be greater than 0, not 0."),
        ({"exclusiveMaximum": 1}, 1, "must be less than 1, not 1."),
        ({"minItems": 2}, [1], "needs at least 2 entries, not 1."),
        ({"maxItems": 1}, [1, 2], "takes at most 1 entries, not 2."),
        ({"minLength": 1}, "", "needs at least 1 characters, not 0."),
        ({"pattern": "^a+$"}, "b", "'b' does not have the form ^a+$."),
        ({"pattern": "^a+$", "description": "Only a."}, "b", "Expected: Only a."),
        ({"multipleOf": 2}, 3, "3 is not a multiple of 2."),
        ({"uniqueItems": True}, [1, 1], "[1, 1] has non-unique elements."),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "a", "must be a number or null, not 'a'."),
        ({"oneOf": [{"type": "number"}, {"enum": ["auto"]}]}, "a", "'a' is not one of 'auto'."),
        ({"type": "string"}, 10**80, "must be a text, not 1" + "0" * 56 + "...."),
    ],
)
def test_each_problem_in_plain_words(prop: Mapping[str, Any], value: Any, message: str) -> None:
    (found,) = messages(prop, value)
    assert message in found
    assert found.endswith((".", "?"))


@pytest.mark.parametrize(
    ("prop", "value"),
    [
        ({"type": "integer"}, 3), ({"type": "number"}, 3), ({"type": "array", "items": {"type": "integer"}}, (1, 2)),
        ({"type": ["string", "null"]}, None), ({"pattern": "^a$"}, "a"), ({"pattern": r"^[$]\$$"}, "$$"),
        ({"pattern": "a"}, "bab"), ({"pattern": "^a$"}, 5), ({"type": "string"}, CommandLineText("x")),
    ],
)  # fmt: skip
def test_good_values_pass(prop: Mapping[str, Any], value: Any) -> None:
    assert messages(prop, value) == []


def test_a_pattern_ends_where_the_text_ends() -> None:
    """JSON Schema's ``$`` does not stand before a last line break as Python's does."""
    assert len(messages({"pattern": "^a$"}, "a\n")) == 1


def test_a_problem_deep_in_an_alternative_is_the_one_shown() -> None:
    prop = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number", "minimum": 0}}]}
    assert messages(prop, [1, -2]) == ["must be at least 0, not -2."]


def test_unknown_and_missing_parameters_are_all_named() -> None:
    schema = {**of(epsilon={}, composite={}, target={}), "required": ["target", "composite"]}
    assert problems_of(schema, {"epsilom": 1, "zzz": 2}) == [
        (("composite",), "is required but missing."),
        (("epsilom",), "unknown parameter. Did you mean 'epsilon'? Known here: composite, epsilon, target."),
        (("target",), "is required but missing."),
        (("zzz",), "unknown parameter. Known here: composite, epsilon, target."),
    ]
    assert problems_of(of(), {"a": 1}) == [(("a",), "unknown parameter. Nothing is known here.")]


def test_problems_come_in_the_order_of_the_list() -> None:
    schema = of(x={"type": "array", "items": {"type": "integer"}})
    found = problems_of(schema, {"x": ["a"] * 12})
    assert [path for path, _ in found] == [("x", index) for index in range(12)]


def test_two_problems_of_one_value_keep_their_order() -> None:
    expected = ["needs at least 3 characters, not 1.", "'b' does not have the form ^a.", "'b' is not one of 'x'."]
    assert messages({"minLength": 3, "pattern": "^a", "enum": ["x"]}, "b") == expected


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (None, "config_schema is NoneType, not a mapping"),
        ([], "config_schema is list, not a mapping"),
        ({"type": "objekt"}, "config_schema is no JSON Schema 2020-12 (type: "),
        ({**of(), "properties": {"a": {"minimum": "0"}}}, "(properties/a/minimum: "),
        ({**of(), "properties": {"a": {"pattern": "("}}}, "(properties/a/pattern: "),
        ({**of(), "required": "a"}, "(required: "),
        ({"type": "object", "properties": {}}, "must be an object with additionalProperties: false"),
        ({"additionalProperties": False}, "must be an object with additionalProperties: false"),
        ({**of(a={}), "required": ["b"]}, "config_schema requires 'b', which is not among its properties"),
    ],
)
def test_a_wrong_schema_is_explained(schema: Any, message: str) -> None:
    assert message in str(schema_error(schema))


def test_a_right_schema_is_right() -> None:
    assert schema_error(of(a={"type": "array", "default": (1, 2), "description": "x"})) is None


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("depht", ["depth", "width"], "depth"), ("grad_cam", ["grad-cam", "lrp"], "grad-cam"), ("LRP", ["lrp"], "lrp"),
        ("xyz", ["depth"], None), ("", ["a"], None), ("a", [], None),
    ],
)  # fmt: skip
def test_did_you_mean(word: str, known: list[str], meant: str | None) -> None:
    assert did_you_mean(word, known) == (f" Did you mean {meant!r}?" if meant else "")


NESTED = of(
    size={"type": "array", "default": (4, 4)},
    noise={
        "type": "object",
        "default": {"level": 1},
        "properties": {"level": {"default": 0.5}, "kind": {"default": "white"}},
    },
    steps={"type": "array", "default": [], "items": {"type": "object", "properties": {"rate": {"default": 0.1}}}},
    target={"type": "string"},
)


def test_defaults_are_filled_in_the_order_of_the_schema() -> None:
    found = fill_defaults(NESTED, {"target": "a", "noise": {"kind": "pink"}, "steps": [{}, {"rate": 1}]})
    assert list(found) == ["size", "noise", "steps", "target"]
    assert found["noise"] == {"level": 0.5, "kind": "pink"}
    assert found["steps"] == [{"rate": 0.1}, {"rate": 1}]
    assert fill_defaults(NESTED, found) == found


def test_defaults_are_copies() -> None:
    before = deepcopy(NESTED)
    params = {"noise": {"level": [1]}}
    found = fill_defaults(NESTED, params)
    found["noise"]["level"].append(2)
    found["steps"].append(3)
    fill_defaults(NESTED, {})["noise"]["level"] = 7
    assert before == NESTED
    assert params == {"noise": {"level": [1]}}


def test_only_paths_are_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = {"type": "string", "format": "path"}
    schema = of(
        one=path,
        text={"type": "string"},
        many={"type": "array", "items": path},
        inner={"type": "object", "properties": {"file": path}, "additionalProperties": path},
    )
    monkeypatch.chdir(tmp_path)
    value = {
        "one": "../a.nii", "text": "a.nii", "many": ["b", "/c", CommandLineText("d")],
        "inner": {"file": "e", "other": "f", "number": 1},
    }  # fmt: skip
    assert resolve_paths(schema, value, Path("/study/config")) == {
        "one": "/study/a.nii",
        "text": "a.nii",
        "many": ["/study/config/b", "/c", str(tmp_path / "d")],
        "inner": {"file": "/study/config/e", "other": "/study/config/f", "number": 1},
    }
    assert resolve_paths(schema, {"one": None}, Path("/study")) == {"one": None}
