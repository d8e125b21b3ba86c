"""All words are in one file: no key is missing, none is left over, and none can break an attribute."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from xai_reports_html._texts import catalogue, counted, listed, plain, say

_FOLDER = files("xai_reports_html")
_SOURCE = "".join(
    path.read_text(encoding="utf-8")
    for path in (*_FOLDER.iterdir(), *(_FOLDER / "templates").iterdir())
    if path.name.endswith((".py", ".j2"))
)


def test_every_key_is_there_and_used():
    keys, sections = set(catalogue()), {key.partition(".")[0] for key in catalogue()}
    named = {
        key for key in re.findall(r"""["']([a-z]+\.[a-z0-9_]+)["']""", _SOURCE) if key.partition(".")[0] in sections
    }
    files_of_runs = {key for key in named if key.endswith((".tsv", ".pdf", ".json", ".txt", ".js", ".css"))}
    begun = set(re.findall(r"""["']([a-z]+\.[a-z_]*)(?:\{|["'] ~)""", _SOURCE))  # such as f"doubt.unsure_{kind}"
    missing = {key for key in named - files_of_runs if not {key, f"{key}_one"} & keys and key not in begun}
    assert missing == set()
    left = {key for key in keys - named if key.removesuffix("_one").removesuffix("_many") not in named}
    assert {key for key in left if not key.startswith(tuple(begun))} == set()


def test_texts_stand_in_attributes_safely():
    """They may hold <strong>, but no raw quote, which would end an attribute."""
    for key, text in catalogue().items():
        assert '"' not in text, key
        assert not re.search(r"<(?!/?strong>)", text), key


def test_what_is_filled_in_is_escaped():
    assert say("case.for", target="<b>") == "for <strong>&lt;b&gt;</strong>"
    assert plain("results.of_people", people="<2 people>") == " of <2 people>"
    assert (counted("count.people", 1), counted("count.people", 2)) == ("1 person", "2 people")
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    with pytest.raises(KeyError):
        say("case.no_such_key")
