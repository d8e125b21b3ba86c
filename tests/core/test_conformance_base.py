"""What the kit checks of a component of any kind, with invented packages; and that no check is without its proof."""

from __future__ import annotations

import importlib.util
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xai_core import InputError, PluginError, registry, testing
from xai_core.testing import ComponentConformance, ExplainerConformance
from xai_core.testing._distributions import fake_distribution

TEMPLATE = """
{imports}
from xai_core import ConfigError, Explainer


class Mine(Explainer):
    {doc}

    config_schema = {{
        "type": "object",
        "additionalProperties": False,
        {more}
        "properties": {{
            "size": {{"type": "integer", "minimum": 1, "default": 4, "description": "Voxels."}},
            {properties}
        }},
    }}

    def __init__(self, {arguments}) -> None:
        {body}

    def explain(self, model, volumes, target):
        raise NotImplementedError
"""


def source(
    *,
    arguments: str = "*, size: int = 4",
    properties: str = "",
    more: str = "",
    imports: str = "",
    doc: str = '"""A summary."""',
    body: str = "pass",
) -> str:
    return TEMPLATE.format(
        arguments=arguments, properties=properties, more=more, imports=imports, doc=doc, body=textwrap.dedent(body)
    )


def prop(name: str, text: str) -> str:
    return f'"{name}": {{{text}, "description": "Something."}},'


NAME = "invented-explainer"
Suite = type("Suite", (ExplainerConformance,), {"name": NAME})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a package with one explainer, for this process and for those that it starts."""
    site = tmp_path / "site"
    module = f"invented_{abs(hash(tmp_path)):x}"  # modules stay in sys.modules: each test has its own
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(registry._default, "_registered", {})

    def write(code: str) -> None:
        points = {"xai.explainers": {NAME: f"{module}:Mine"}}
        fake_distribution(site, "xai-invented", entry_points=points, modules={f"{module}.py": code})
        registry.refresh()

    yield write
    monkeypatch.undo()
    registry.refresh()


RESOLVES, LIGHT = "test_resolves_through_its_entry_point", "test_leaves_torch_out"
SUMMARY, DESCRIBED = "test_has_a_summary", "test_parameters_are_described"
AGREE, UNKNOWN = "test_schema_and_constructor_agree", "test_unknown_parameter_is_refused"
C = ComponentConformance
ANY = '"patternProperties": {"^no_": {}},'

# (suite, check, source of the module, text of the failure)
PROOFS: list[tuple[type, str, str, str]] = [
    (C, LIGHT, source(imports="import torch"), "is not light: imports torch"),
    (C, LIGHT, source(imports="import numpy"), "is not light: imports numpy"),
    (C, LIGHT, source(imports="import pandas as pd"), "is not light: imports numpy, pandas"),
    (C, LIGHT, source(imports="import nibabel"), "is not light: imports nibabel, numpy"),
    (C, SUMMARY, source(doc="pass"), "Mine has no docstring"),
    (C, SUMMARY, source(doc='"""   """'), "Mine has no docstring"),
    (C, DESCRIBED, source(properties='"rate": {"type": "number", "default": 1.0}'), r"description: \['rate'\]"),
    (
        C, DESCRIBED, source(properties='"rate": {"type": "number", "default": 1.0, "description": ""}'),
        r"without a description: \['rate'\]",
    ),
    (C, AGREE, source(arguments="size: int = 4"), r"must be keyword-only: \['size'\]"),
    (C, AGREE, source(arguments="*sizes: int"), r"must be keyword-only: \['sizes'\]"),
    (C, AGREE, source(arguments="**params"), r"must be keyword-only: \['params'\]"),
    (C, AGREE, source(arguments="*, width: int = 4"), r"schema \['size'\], constructor \['width'\]"),
    (C, AGREE, source(arguments="*, size: int = 4, rate: float = 1.0"), r"constructor \['rate', 'size'\]"),
    (C, AGREE, source(properties=prop("rate", '"default": 1.0')), r"schema \['rate', 'size'\], constructor \['size'\]"),
    (C, AGREE, source(arguments="*, size: int = 5"), "size: default 4, constructor 5"),
    (C, AGREE, source(arguments="*, size: float = 4.0"), r"size: default 4, constructor 4\.0"),
    (C, AGREE, source(arguments="*, size: int | None = None"), "size: default 4, constructor None"),
    (C, AGREE, source(arguments="*, size: int"), "size: required in one, not in the other"),
    (C, AGREE, source(more='"required": ["size"],'), "size: required in one, not in the other"),
    (C, AGREE, source(arguments="*, size: int", more='"required": ["size"],'), "size: default in one, none in the"),
    (
        C, AGREE, source(arguments="*, size: int = 4, rate: float = 1.0", properties=prop("rate", '"type": "number"')),
        "rate: default in one, none in the other",
    ),
    (
        C, AGREE,
        source(arguments="*, size: int = 4, on: bool = True", properties=prop("on", '"enum": [0, 1], "default": 1')),
        "on: default 1, constructor True",
    ),
    (
        C, AGREE,
        source(
            arguments="*, size: int = 4, sides: tuple = (1, 2)",
            properties=prop("sides", '"type": "array", "default": [1, 3]'),
        ),
        r"sides: default \[1, 3\], constructor \(1, 2\)",
    ),
    (
        C, AGREE,
        source(arguments="*, size: int = 4, rate: int = 0", properties=prop("rate", '"minimum": 1, "default": 0')),
        "rate: the default 0 does not fit",
    ),
    (C, UNKNOWN, source(arguments="**params", more=ANY), "an unknown parameter was accepted"),
    (
        C, UNKNOWN, source(arguments="*, size: int = 4, **other", more=ANY, body='raise ConfigError("something else")'),
        "the message does not name the parameter: something else",
    ),
]  # fmt: skip

GOOD = source(
    arguments="*, first: str, size: int = 4, sides: tuple = (1, 2), name: str | None = None",
    more='"required": ["first"],',
    properties=prop("first", '"type": "string"')
    + prop("sides", '"type": "array", "default": [1, 2]')
    + prop("name", '"type": ["string", "null"], "default": None'),
)
CHECKS = sorted(name for name in vars(ComponentConformance) if name.startswith("test_"))


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: f"{p[1]}-{p[3][:30]}")
def test_bad_component_fails(proof: tuple[type, str, str, str], install: Callable[[str], None]) -> None:
    _, name, code, message = proof
    install(code)
    with pytest.raises(AssertionError, match=message):
        getattr(Suite(), name)()


@pytest.mark.parametrize("name", CHECKS)
def test_good_component_passes(name: str, install: Callable[[str], None]) -> None:
    install(GOOD)
    suite = type("Good", (ExplainerConformance,), {"name": f"xai-invented:{NAME}", "params": {"first": "x"}})
    getattr(suite(), name)()
    assert suite().create() is not suite().create()


def test_class_of_this_process_does_not_resolve_through_an_entry_point(install: Callable[[str], None]) -> None:
    install(GOOD)
    registry.register("explainer", NAME, registry.get("explainer", NAME))
    with pytest.raises(AssertionError, match="registered in this process, not by an entry point"):
        Suite().test_resolves_through_its_entry_point()
    registry.register("explainer", "of-this-process", registry.get("explainer", NAME))
    suite = type("Local", (ExplainerConformance,), {"name": "of-this-process"})
    with pytest.raises(AssertionError, match="is not light"):
        suite().test_leaves_torch_out()


BROKEN = {
    "not installed": (None, "There is no explainer named", InputError),
    "cannot be imported": (source(imports="import nothing_of_this_name"), "cannot be imported", PluginError),
    "no class": ("Mine = 3", "is not a class", PluginError),
    "schema that is none": (source(more='"properties": 3, "required": 7,'), "is no JSON Schema", PluginError),
    "schema that is open": (source(more="").replace("False", "True"), "additionalProperties: false", PluginError),
    "abstract": (source().replace("def explain", "def explains"), "is abstract: it lacks explain", PluginError),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_component_fails_every_check_with_the_registrys_message(
    case: str, install: Callable[[str], None]
) -> None:
    code, message, error = BROKEN[case]
    if code is not None:
        install(code)
    for name in CHECKS:
        with pytest.raises((error, AssertionError), match=message if name != LIGHT else "is not light"):
            getattr(Suite(), name)()


# --- no check without a proof -----------------------------------------------------------------------------------------


def suites() -> dict[str, type]:
    return {name: getattr(testing, name) for name in testing.__all__ if name.endswith("Conformance")}


def own_checks(suite: type) -> set[tuple[str, str]]:
    return {(suite.__name__, name) for name in vars(suite) if name.startswith("test_")}


def proved() -> set[tuple[str, str]]:
    """Suite and check of every proof in the files beside this one."""
    found = {("ComponentConformance", RESOLVES)}  # above: it needs no module of its own
    for path in sorted(Path(__file__).parent.glob("test_conformance_*.py")):
        spec = importlib.util.spec_from_file_location(f"proofs_of_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for suite, check, *_ in module.PROOFS:
            kit = next(base for base in suite.__mro__ if base in suites().values())
            found.add((kit.__name__, check))
    return found


def test_every_check_of_every_suite_is_proved_able_to_fail() -> None:
    checks = set().union(*(own_checks(suite) for suite in suites().values()))
    assert proved() == checks


def test_every_kind_has_a_suite() -> None:
    kinds = {suite.kind for name, suite in suites().items() if name != "ComponentConformance"}  # type: ignore[attr-defined]
    assert kinds == set(registry.KINDS)


def test_every_check_says_what_it_checks_and_takes_at_most_a_folder() -> None:
    for suite in suites().values():
        for _, name in own_checks(suite):
            check = vars(suite)[name]
            assert check.__doc__, name
            assert set(inspect.signature(check).parameters) <= {"self", "tmp_path"}, name


def test_every_assertion_of_the_kit_says_what_is_wrong() -> None:
    """pytest explains bare assertions of test modules only, not of an installed package."""
    import ast

    folder = Path(testing.__file__).parent
    bare = [
        f"{path.name}:{node.lineno}"
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert not bare
