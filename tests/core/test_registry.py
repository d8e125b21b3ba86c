"""The registry among invented packages: good ones, broken ones and two with one name."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from xai_core import ConfigError, Explainer, InputError, Model, PluginError, registry
from xai_core.interfaces import KINDS
from xai_core.known import KNOWN_PLUGINS
from xai_core.registry import PluginInfo, Registry
from xai_core.testing import fake_distribution
from xai_core.testing._distributions import METHODS, component_source, finder

EPSILON = '{"epsilon": {"type": "number", "default": 1e-6, "exclusiveMinimum": 0, "description": "Stabiliser."}}'


def install(
    site: Path, package: str, version: str, source: str | None, *, kind: str = "explainer", name: str = "lrp"
) -> str:
    """Install a package with one component ``Mine`` and return the name of its module."""
    module = f"{package}_{version}".lower().translate(str.maketrans("-.", "__"))
    points = {KINDS[kind].group: {name: f"{module}:Mine"}}
    modules = {} if source is None else {f"{module}.py": source}
    fake_distribution(site, package, version, entry_points=points, modules=modules)
    registry.refresh()
    return module


def broken(kind: str = "explainer", name: str = "lrp") -> str:
    with pytest.raises(PluginError) as error:
        registry.get(kind, name)
    assert error.value.exit_code == 3
    return str(error.value)


def wrong(kind: str, name: str) -> str:
    with pytest.raises(InputError) as error:
        registry.get(kind, name)
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_component_is_found_made_and_checked(site: Path) -> None:
    module = install(site, "Xai.Mine", "1.2", component_source("Explainer", EPSILON))
    assert registry.infos("explainer") == [PluginInfo("explainer", "lrp", "xai-mine", "1.2", f"{module}:Mine")]
    for kind in ("explainer", "explainers", "xai.explainers"):
        assert registry.info(kind, "lrp") == registry.infos(kind)[0]
    assert registry.get("explainer", "lrp").__module__ == module
    assert registry.get("explainer", "lrp") is registry.get("explainer", "XAI_mine:lrp")
    assert registry.schema("explainer", "lrp")["properties"]["epsilon"]["default"] == 1e-6
    assert registry.create("explainer", "lrp").params == {"epsilon": 1e-6}
    assert registry.create("explainer", "lrp", epsilon=0.5).params == {"epsilon": 0.5}
    assert registry.problems() == []


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_has_its_group(site: Path, kind: str) -> None:
    interface = KINDS[kind].interface.__name__
    install(site, f"a-{kind}", "1", component_source(interface), kind=kind, name="x")
    assert [info.name for info in registry.infos(kind)] == ["x"]
    assert isinstance(registry.create(kind, "x"), KINDS[kind].interface)
    assert set(METHODS) == {k.interface.__name__ for k in KINDS.values()}


def test_listing_imports_nothing(site: Path) -> None:
    module = install(site, "loud", "1", "raise RuntimeError('imported')")
    assert [info.target for info in registry.infos()] == [f"{module}:Mine"]
    assert registry.info("explainer", "lrp").qualified == "loud:lrp"
    with pytest.raises(InputError):
        registry.get("explainer", "other")
    assert module not in sys.modules


# --- broken plugins: the message names package, version, target and cause


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (None, "cannot be imported: ModuleNotFoundError: No module named 'bad_0_3'. Repair or uninstall bad."),
        ("import no_such_library", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'."),
        ("raise RuntimeError('boom')", "cannot be imported: RuntimeError: boom."),
        ("def f(:", "cannot be imported: SyntaxError: "),
        ("import sys; sys.exit('no licence')", "cannot be imported: SystemExit: no licence."),
        ("Other = 1", "cannot be imported: AttributeError: "),
        ("Mine = 5", "is not a class but int. It must be a subclass of xai_core.Explainer."),
        ("def Mine(**params): return None", "is not a class but function."),
        ("class Mine: pass", "is not a subclass of xai_core.Explainer."),
        (component_source("Model"), "is not a subclass of xai_core.Explainer. It is a component of the kind model."),
        ("from xai_core import Explainer as Mine", "is abstract: it lacks explain."),
        (component_source("Explainer").replace("def explain", "def explian"), "is abstract: it lacks explain."),
        (component_source("Explainer", "[]"), "config_schema is no JSON Schema 2020-12 (properties: "),
        (component_source("Explainer").replace("False", "True"), "must be an object with additionalProperties: false."),
        (
            component_source("Explainer").replace("config_schema = {", "config_schema = 5; unused = {"),
            "is int, not a mapping.",
        ),
    ],
)
def test_a_broken_plugin_says_what_is_broken(site: Path, source: str | None, cause: str) -> None:
    module = install(site, "bad", "0.3", source)
    message = broken()
    assert message.startswith(f"The explainer 'lrp' of bad 0.3 ({module}:Mine)")
    assert cause in message
    (problem,) = registry.problems()
    assert (problem.kind, problem.name, problem.packages, problem.message) == ("explainer", "lrp", ("bad",), message)


@pytest.mark.parametrize("target", ["module.with.no.class", "not a target!", ""])
def test_a_malformed_entry_point_breaks_only_itself(site: Path, target: str) -> None:
    points = {"xai.explainers": {"odd": target}}
    fake_distribution(site, "odd", "1", entry_points=points, modules={"module/with/no/class.py": ""})
    install(site, "good", "1", component_source("Explainer"))
    assert f"The explainer 'odd' of odd 1 ({target})" in broken(name="odd")
    registry.create("explainer", "lrp")


def test_a_broken_plugin_breaks_only_itself(site: Path) -> None:
    install(site, "bad", "0.3", "import nope", name="bad")
    install(site, "good", "1.0", component_source("Explainer"), name="good")
    assert [info.name for info in registry.infos("explainer")] == ["bad", "good"]
    assert registry.create("explainer", "good").params == {}
    assert [problem.name for problem in registry.problems()] == ["bad"]


def test_remains_of_a_failed_installation_break_nothing(site: Path) -> None:
    install(site, "good", "1.0", component_source("Explainer"))
    remains = fake_distribution(site, "half", "1", entry_points={"xai.explainers": {"half": "half:Mine"}})
    (remains / "METADATA").unlink()
    registry.refresh()
    assert {info.name: (info.package, info.version) for info in registry.infos("explainer")} == {
        "half": ("(unknown package)", "?"),
        "lrp": ("good", "1.0"),
    }
    registry.create("explainer", "lrp")
    assert "The explainer 'half' of (unknown package) ? (half:Mine) cannot be imported" in broken(name="half")


def test_a_repaired_plugin_works_after_refresh(site: Path) -> None:
    module = install(site, "bad", "0.3", "import nope")
    broken()
    (site / f"{module}.py").write_text(component_source("Explainer") + "# repaired\n", encoding="utf-8")
    registry.refresh()
    registry.create("explainer", "lrp")


def test_a_module_that_appears_is_imported_after_refresh(site: Path) -> None:
    """Python remembers a folder's files by its time of change, and the clock of a file system may be coarse."""
    module = install(site, "late", "1", None)
    broken()
    before = site.stat()
    (site / f"{module}.py").write_text(component_source("Explainer"), encoding="utf-8")
    os.utime(site, ns=(before.st_atime_ns, before.st_mtime_ns))
    registry.refresh()
    registry.create("explainer", "lrp")


# --- two packages, one name


def test_a_conflict_is_listed_and_only_the_bare_name_is_an_error(site: Path) -> None:
    first = install(site, "xai-one", "1.0", component_source("Explainer"))
    second = install(site, "xai-two", "2.5", component_source("Explainer", EPSILON))
    assert [(info.qualified, info.conflict) for info in registry.infos("explainer")] == [
        ("xai-one:lrp", True),
        ("xai-two:lrp", True),
    ]
    message = wrong("explainer", "lrp")
    assert message == (
        f"Two packages claim the explainer 'lrp': xai-one 1.0 ({first}:Mine) and xai-two 2.5 ({second}:Mine). "
        "Write name: xai-one:lrp or name: xai-two:lrp, or uninstall all but one of them."
    )
    assert registry.create("explainer", "xai-one:lrp").params == {}
    assert registry.create("explainer", "xai-two:lrp").params == {"epsilon": 1e-6}
    assert [(p.name, p.packages) for p in registry.problems()] == [("lrp", ("xai-one", "xai-two"))]
    assert "Did you mean 'xai-two:lrp'?" in wrong("explainer", "xai-too:lrp")


def test_the_order_of_the_file_system_does_not_show(site: Path) -> None:
    for package in ("b", "a", "c"):
        install(site, package, "1", component_source("Explainer"))
    points = list(finder(site)("xai.explainers"))
    for order in (points, points[::-1]):
        found = Registry(lambda group, order=order: order if group == "xai.explainers" else [])  # type: ignore[misc]
        assert [info.package for info in found.infos()] == ["a", "b", "c"]
        with pytest.raises(InputError, match=r"^3 packages claim .* name: a:lrp or name: b:lrp or name: c:lrp"):
            found.get("explainer", "lrp")


def test_the_same_name_for_two_kinds_is_no_conflict(site: Path) -> None:
    install(site, "one", "1", component_source("Explainer"), name="x")
    install(site, "two", "1", component_source("Model"), kind="model", name="x")
    assert not any(info.conflict for info in registry.infos())
    assert registry.problems() == []


def test_a_broken_one_of_two_can_be_avoided(site: Path) -> None:
    install(site, "xai-one", "1.0", component_source("Explainer"))
    install(site, "xai-two", "2.5", "import nope")
    registry.create("explainer", "xai-one:lrp")
    assert "cannot be imported" in broken(name="xai-two:lrp")
    assert [problem.name for problem in registry.problems()] == ["lrp", "xai-two:lrp"]


def test_one_distribution_seen_twice_is_no_conflict(site: Path) -> None:
    """An editable installation beside its leftovers."""
    install(site, "mine", "1", component_source("Explainer"))
    (point,) = finder(site)("xai.explainers")
    found = Registry(lambda group: [point, point] if group == "xai.explainers" else [])
    assert [info.conflict for info in found.infos()] == [False]
    found.create("explainer", "lrp")


def test_one_distribution_with_two_classes_of_one_name_is_broken(site: Path) -> None:
    """No ``package:name`` could tell them apart."""
    module = install(site, "mine", "1", component_source("Explainer"))
    (point,) = finder(site)("xai.explainers")
    other = EntryPoint(point.name, f"{module}:Other", point.group)._for(point.dist)  # type: ignore[attr-defined]
    found = Registry(lambda group: [point, other] if group == "xai.explainers" else [])
    for name in ("lrp", "mine:lrp"):
        with pytest.raises(PluginError) as error:
            found.get("explainer", name)
        assert str(error.value) == (
            f"One package announces the explainer 'lrp' twice: mine 1 ({module}:Mine) and mine 1 ({module}:Other). "
            "Repair or uninstall it."
        )


# --- unknown names


def test_an_unknown_name_tells_what_is_near_and_what_is_there(site: Path) -> None:
    install(site, "one", "1", component_source("Explainer"), name="occlusion")
    install(site, "two", "1", component_source("Explainer"), name="zeta")
    assert wrong("explainer", "oclusion") == (
        "There is no explainer named 'oclusion'. Did you mean 'occlusion'? Installed explainers: occlusion, zeta."
    )
    assert wrong("model", "x") == "There is no model named 'x'. No models are installed."
    assert wrong("explainer", "nobody:zeta").startswith("There is no explainer named 'nobody:zeta'.")
    assert wrong("explainer", "") == "There is no explainer named ''. Installed explainers: occlusion, zeta."


def test_an_unknown_kind_tells_the_kinds(site: Path) -> None:
    assert wrong("explainor", "x") == (
        "There is no kind of component named 'explainor'. Did you mean 'explainer'? Kinds: dataset, transform, "
        "splitter, model, trainer, explainer, evaluator, analysis, report, executor."
    )


def test_a_known_but_absent_plugin_prints_how_to_install_it(site: Path) -> None:
    install(site, "one", "1", component_source("Explainer"), name="occlusion")
    assert wrong("explainer", "lrp") == (
        "The explainer 'lrp' is not installed. Install it: pip install xai-explainers-lrp. "
        "Installed explainers: occlusion."
    )
    assert "Install it: pip install xai-explainers-lrp." in wrong("explainer", "xai_explainers_lrp:lrp")
    assert "There is no explainer named 'mine:lrp'." in wrong("explainer", "mine:lrp")
    assert "pip install xai-models-resnet3d. No models are installed." in wrong("model", "resnet3d")


def test_the_list_of_known_plugins_is_true() -> None:
    """Every component of our packages and no other."""
    groups = {kind.group: kind.name for kind in KINDS.values()}
    found: dict[tuple[str, str], str] = {}
    for file in sorted((Path(__file__).parents[2] / "packages").glob("*/pyproject.toml")):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        for group, points in project.get("entry-points", {}).items():
            if group in groups:
                found.update({(groups[group], name): project["name"] for name in points})
    assert dict(KNOWN_PLUGINS) == found


# --- creation


def test_wrong_parameters_are_all_listed(site: Path) -> None:
    install(site, "mine", "1", component_source("Explainer", EPSILON))
    with pytest.raises(ConfigError) as error:
        registry.create("explainer", "lrp", epsilon=0, epsilom=1)
    assert error.value.problems == (
        "lrp: params.epsilom: unknown parameter. Did you mean 'epsilon'? Known here: epsilon.",
        "lrp: params.epsilon: must be greater than 0, not 0.",
    )


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        ("ValueError('7 does not fit')", ConfigError, "lrp: 7 does not fit"),
        ("TypeError('no epsilon')", PluginError, "of mine 1 (mine_1:Mine) cannot be built: TypeError: no epsilon. Its"),
        ("ImportError('no torch')", PluginError, "cannot be built: ImportError: no torch."),
        ("__import__('xai_core').InputError('no such file')", InputError, "no such file"),
    ],
)
def test_an_error_of_the_constructor(site: Path, raised: str, expected: type[Exception], message: str) -> None:
    install(site, "mine", "1", component_source("Explainer").replace("self.params = params", f"raise {raised}"))
    with pytest.raises(expected) as error:
        registry.create("explainer", "lrp")
    assert type(error.value) is expected
    assert message in str(error.value)


def test_a_constructor_that_knows_less_than_its_schema_is_broken(site: Path) -> None:
    install(site, "mine", "1", component_source("Explainer", EPSILON).replace("**params", "*, params=None"))
    with pytest.raises(PluginError, match="Its constructor and its config_schema may disagree"):
        registry.create("explainer", "lrp")


def test_a_parameter_may_be_called_name_or_kind(site: Path) -> None:
    install(site, "mine", "1", component_source("Explainer", '{"name": {"default": "a"}, "kind": {"default": "b"}}'))
    assert registry.create("explainer", "lrp", name="x", kind="y").params == {"name": "x", "kind": "y"}


# --- this process


class Mine(Explainer):
    """A component of this module."""

    def explain(self, model: Any, volumes: Any, target: Any) -> Any:
        return None


class Later(Mine):
    """Takes its place."""

    config_schema: Mapping[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}  # type: ignore[misc]


def test_a_class_is_registered_in_place_of_an_installed_one(site: Path) -> None:
    install(site, "installed", "1", component_source("Explainer"))
    before = registry.get("explainer", "lrp")
    registry.register("explainer", "lrp", Mine)
    assert registry.get("explainer", "lrp") is Mine is not before
    assert [info.qualified for info in registry.infos("explainer")] == ["(this process):lrp"]
    assert registry.get("explainer", "(this process):lrp") is Mine
    registry.refresh()
    assert registry.get("explainer", "lrp") is Mine
    registry.register("explainers", "lrp", Later)
    assert registry.get("explainer", "lrp") is Later
    again = type("Later", (Mine,), {"__module__": Later.__module__, "__qualname__": "Later"})
    registry.register("explainer", "lrp", again)
    assert registry.get("explainer", "lrp") is again, "a class defined once more, as in a notebook"


def test_what_is_registered_is_checked_too(site: Path) -> None:
    for component in (5, Model, object):
        with pytest.raises(PluginError):
            registry.register("explainer", "bad", component)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        registry.register("explainor", "bad", Mine)
    assert registry.infos("explainer") == []


def test_packages_installed_meanwhile_appear_after_refresh(site: Path) -> None:
    assert registry.infos() == []
    points = {"xai.explainers": {"late": "late_module:Mine"}}
    source = component_source("Explainer")
    fake_distribution(site, "late", "1", entry_points=points, modules={"late_module.py": source})
    assert registry.infos() == []
    registry.refresh()
    registry.create("explainer", "late")


def test_two_registries_know_nothing_of_each_other(site: Path) -> None:
    other = Registry(finder(site))
    other.register("explainer", "mine", Mine)
    assert other.get("explainer", "mine") is Mine
    assert registry.infos() == []
