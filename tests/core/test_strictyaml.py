"""Strict YAML: the core schema of YAML 1.2.2 (section 10.3.2), and nothing beyond plain values."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from xai_core import ConfigError
from xai_core.config.strictyaml import dump, load_file, load_text


def value_of(text: str) -> Any:
    return load_text(text, "pipeline.yaml").value


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_text(text, "pipeline.yaml")
    assert len(error.value.problems) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Examples of the YAML 1.2.2 specification (10.2 and 10.3.2).
        ("null", None), ("~", None), ("Null", None), ("", None),
        ("true", True), ("True", True), ("FALSE", False),
        ("0", 0), ("0o7", 7), ("0x3A", 58), ("-19", -19), ("+12", 12),
        ("0.", 0.0), ("-0.0", 0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0),
        # What YAML 1.1 reads in another way.
        ("1e-4", 1e-4), ("1E5", 1e5), ("017", 17), ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"),
        ("y", "y"), ("12:30:45", "12:30:45"), ("1_000", "1_000"), ("0b11", "0b11"), ("2001-12-14", "2001-12-14"),
        ("=", "="),
        # Almost a number.
        ("1e", "1e"), ("e5", "e5"), (".", "."), ("+", "+"), ("0o8", "0o8"), ("-0x1", "-0x1"), ("1.2.3", "1.2.3"),
        ("tRue", "tRue"), ("nULL", "nULL"), ("\u0663", "\u0663"), ("inf", "inf"), ("nan", "nan"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, expected: Any) -> None:
    found = value_of(f"a: {text}\n")["a"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("text", ["'1e-4'", '"true"', "'~'", "!!str 1e-4", "'.inf'", "|\n  1e-4"])
def test_quoted_and_tagged_texts_stay_texts(text: str) -> None:
    assert isinstance(value_of(f"a: {text}\n")["a"], str)


@pytest.mark.parametrize("text", [".inf", "-.Inf", "+.INF", ".nan", ".NaN", "1e400", "-1e999"])
def test_what_is_not_finite_is_refused(text: str) -> None:
    assert refused(f"a: 1\nb: {text}\n") == f"pipeline.yaml:2: {text} is not a finite number."


def test_an_integer_beyond_all_bounds_is_refused() -> None:
    assert "pipeline.yaml:1: 99999999999999999999... has too many digits." in refused("a: " + "9" * 5000)


def test_keys_are_texts_as_written() -> None:
    assert value_of("1: a\n01: b\ntrue: c\non: d\n~: e\n") == {"1": "a", "01": "b", "true": "c", "on": "d", "~": "e"}


def test_a_merge_key_is_a_key_like_others() -> None:
    assert value_of("a: &x {b: 1}\nc:\n  <<: *x\n") == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


def test_lines_are_kept_by_path() -> None:
    lines = load_text("model:\n  name: a\n  params:\n    depth: 18\nlist:\n  - x\n  -\n    id: y\n", "p").lines
    assert lines[("model",)] == 1
    assert lines[("model", "params", "depth")] == 4
    assert lines[("list", 0)] == 6
    assert lines[("list", 1, "id")] == 8


def test_a_key_twice_names_both_lines() -> None:
    assert refused("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n") == (
        "pipeline.yaml:5: the key 'c' is there twice (first in line 3)."
    )
    assert "pipeline.yaml:2: the key '1' is there twice (first in line 1)." in refused("1: a\n'1': b\n")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]", "a: !!binary aGk=", "a: !mine 1", "!!set {x}", "!!omap [x: 1]",
        "!!python/name:os.system x: 1", "a: !!str {b: 1}", "a: !!int [1]", "a: !<tag:example.org,2000:x> 1",
    ],
)  # fmt: skip
def test_tags_are_refused(text: str) -> None:
    assert "is not allowed; a configuration holds plain values only." in refused(text)


def test_a_core_tag_must_tell_the_truth() -> None:
    assert value_of("{a: !!int 3, b: !!float 3.0, c: !!bool true, d: !!null ~, e: !!seq [1], f: !!map {}}") == {
        "a": 3, "b": 3.0, "c": True, "d": None, "e": [1], "f": {},
    }  # fmt: skip
    assert "'x' is no int." in refused("a: !!int x")


def test_aliases_repeat_and_do_not_share() -> None:
    found = value_of("a: &x {b: [1]}\nc: *x\n")
    found["a"]["b"].append(2)
    assert found["c"] == {"b": [1]}


def test_a_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "aliases that repeat aliases?" in refused("\n".join(lines))


def test_an_alias_of_itself_is_refused() -> None:
    assert "an alias that contains itself." in refused("a: &x [1, *x]")
    assert "an alias that contains itself." in refused("a: &x {b: {c: *x}}")


@pytest.mark.parametrize("text", ["[" * 3000, "a: " + "{b: " * 3000, "- " * 3000])
def test_nesting_without_end_is_refused(text: str) -> None:
    assert refused(text).startswith("pipeline.yaml")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a:\n\tb: 1\n", 2, "Indent with spaces, not tabs."),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document in the stream, but found another document"),
        ("a: 1\n[b]: 2\n", 2, "a key must be a plain text."),
        ("a: 1\nb: {c: 1\n", 3, "not valid YAML"),
        ("a: 1\nb: *nobody\n", 2, "undefined alias 'nobody'"),
        ("a: 'x\n", 2, "while scanning a quoted scalar"),
        ("a: 1\nb: \x07\n", 2, "the character U+0007 is not allowed."),
        ("a: b: c\n", 1, "mapping values are not allowed here"),
    ],
)
def test_what_is_not_yaml_names_the_line(text: str, line: int, message: str) -> None:
    found = refused(text)
    assert found.startswith(f"pipeline.yaml:{line}: ")
    assert message in found
    assert "\n" not in found


NASTY = [
    "", " ", "  x", "x  ", "\n", "\n\n", "x\n", "\nx", "a\n  b\n c\n", "\t", "a\tb", "\r", "a\r\nb", "\u0085",
    "\u2028", "\ufeff", "\ufeffx", "\U0001f9e0", "gr\u00fc\u00df", "\x7f", "\x1b[0m", "\\", "'", '"', "''",
    "it's", "#", "a #b", "a: b", "a:", ":", "-", "- a", "?", "? a", "[", "]", "{a}", ",", "&a", "*a", "!a",
    "!!str", "|", ">", "%", "%YAML 1.1", "@", "`", "---", "...", "--- a", "null", "~", "Null", "true", "on",
    "yes", "No", "1", "-1", "+1", "1.", ".5", "1e-4", "1e3", "0o17", "0x1F", "017", ".inf", "-.INF", ".nan",
    "1_000", "12:30", "2001-01-01", "=", "<<", "${STUDY}/x", "$${X}", "x" * 300, "word " * 60, "-" * 130,
    "a\x00b", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_every_text_survives_dump_and_load(text: str) -> None:
    value = {"value": text, "list": [text, [text]], "inner": {text: text}}
    written = dump(value)
    written.encode("utf-8")
    assert value_of(written) == value


def random_value(rng: random.Random, depth: int = 0) -> Any:
    choice = rng.randrange(9 if depth < 4 else 7)
    alphabet = " \t\n\r'\"\\:#-?,[]{}&*!|>%@`~=.0123456789eExXonulabtrufs_+\u00e9\u0085\u2028\U0001f9e0"
    if choice < 3:
        return rng.choice(NASTY) if rng.random() < 0.3 else "".join(rng.choices(alphabet, k=rng.randrange(12)))
    if choice < 7:
        numbers = (rng.randrange(-(10**12), 10**12), rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300))
        return (None, rng.random() < 0.5, *numbers)[choice - 3]
    if choice == 7:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    keys = ("".join(rng.choices(alphabet, k=rng.randrange(1, 8))) for _ in range(rng.randrange(5)))
    return {key: random_value(rng, depth + 1) for key in keys}


def same(first: Any, second: Any) -> bool:
    """Equal, with 1, 1.0 and True three different values."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def test_random_values_survive_dump_and_load() -> None:
    rng = random.Random(2)
    for _ in range(400):
        value = random_value(rng)
        assert same(value_of(dump(value)), value), value


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\r\nname: a\r\n")
    document = load_file(path)
    assert document.value == {"version": 1, "name": "a"}
    assert document.lines[("name",)] == 2


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_is_none(text: str) -> None:
    assert value_of(text) is None


def file_refused(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        load_file(path)
    return str(error.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes("name: gr\u00fcn".encode("latin-1"))
    assert file_refused(path) == f"{path} is not UTF-8 text (byte 8). Save it as UTF-8."
    path.write_bytes("name: x".encode("utf-16"))
    assert "is not UTF-8 text (byte 0)" in file_refused(path)


def test_a_missing_file_tells_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "pipline.yaml"
    assert file_refused(path) == f"{path} does not exist. {tmp_path} holds no YAML file."
    for name in ("pipeline.yaml", "other.yml", "notes.txt"):
        (tmp_path / name).touch()
    assert file_refused(path) == f"{path} does not exist. In {tmp_path} there is: other.yml, pipeline.yaml."
    inside = tmp_path / "absent" / "pipeline.yaml"
    assert file_refused(inside) == f"{inside} does not exist. There is no folder {inside.parent} either."
    assert "cannot be read: " in file_refused(tmp_path / "notes.txt" / "pipeline.yaml")
    assert "cannot be read: " in file_refused(tmp_path / ("x" * 300 + ".yaml"))


def test_a_folder_tells_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").touch()
    assert file_refused(tmp_path) == f"{tmp_path} is a folder, not a file. In {tmp_path} there is: pipeline.yaml."
