"""The hooks: who is called, in which order, what stops a run, and that the documentation of each is true."""

from __future__ import annotations

import ast
import inspect
import json
import logging
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import xai_core
from xai_core import InputError, PluginError, hookimpl
from xai_core.engine.hooks import HOOK_GROUP, Hooks
from xai_core.hookspecs import GUARDED, SPECS
from xai_core.testing import fake_distribution
from xai_core.testing._distributions import finder

HOOKS = {name: member for spec in SPECS for name, member in vars(spec).items() if name.startswith("xai_")}
RUN = {"config": {"name": "x"}, "folder": Path("run")}


def arguments_of(hook: str) -> list[str]:
    return [name for name in inspect.signature(HOOKS[hook]).parameters if name != "self"]


@pytest.fixture
def load(site: Path) -> Callable[..., Hooks]:
    """Installs hook plugins, given as name=source, and loads them."""

    def load_plugins(**sources: str) -> Hooks:
        for name, source in sources.items():
            source = "from xai_core import hookimpl\n" + textwrap.dedent(source)
            points = {HOOK_GROUP: {name: f"hooks_{name}"}}
            fake_distribution(site, f"pkg-{name}", "1.0", entry_points=points, modules={f"hooks_{name}.py": source})
        return Hooks(finder(site))

    return load_plugins


def none() -> Hooks:
    return Hooks(lambda _group: [])


def active(hooks: Hooks) -> list[str]:
    """Every implementation that would be called."""
    return [hook for hook in HOOKS for _ in getattr(hooks.manager.hook, hook).get_hookimpls()]


# --- calling


def test_an_implementation_takes_the_arguments_that_it_wants() -> None:
    seen: list[Any] = []

    class Plugin:
        @hookimpl
        def xai_run_started(self) -> None:
            seen.append("nothing")

        @hookimpl
        def xai_run_finished(self, folder: Path) -> None:
            seen.append(folder)

        @hookimpl
        def xai_run_failed(self, error: BaseException, folder: Path, config: object, more: int = 3) -> None:
            seen.append((error, folder, config, more))

    hooks = none()
    hooks.register(Plugin(), "plugin")
    error = KeyError("x")
    hooks.call("xai_run_started", **RUN)
    hooks.call("xai_run_finished", **RUN)
    hooks.call("xai_run_failed", **RUN, error=error)
    assert seen == ["nothing", RUN["folder"], (error, RUN["folder"], RUN["config"], 3)]


def test_a_hook_without_plugins_answers_nothing() -> None:
    assert none().call("xai_run_started", **RUN) == []


def test_plugins_are_called_by_name_and_answers_kept_in_order(load: Callable[..., Hooks]) -> None:
    source = "@hookimpl{}\ndef xai_epoch_finished(): return {!r}\n"
    hooks = load(
        b=source.format("", "b"),
        c=source.format("", "c"),
        a=source.format("", "a"),
        z=source.format("(tryfirst=True)", "z"),
        _=source.format("(trylast=True)", "_"),
        n="@hookimpl\ndef xai_epoch_finished(): return None\n",
        f="@hookimpl\ndef xai_epoch_finished(): return False\n",
    )
    assert hooks.call("xai_epoch_finished", fold=0, epoch=0, scalars={}) == ["z", "a", "b", "c", False, "_"]


def test_two_packages_may_give_their_plugins_one_name(site: Path) -> None:
    for package, answer in (("one", 1), ("two", 2)):
        source = f"from xai_core import hookimpl\n@hookimpl\ndef xai_epoch_finished(): return {answer}\n"
        modules = {f"hooks_of_{package}.py": source}
        fake_distribution(
            site, package, "1", entry_points={HOOK_GROUP: {"plugin": f"hooks_of_{package}"}}, modules=modules
        )
    assert Hooks(finder(site)).call("xai_epoch_finished", fold=0, epoch=0, scalars={}) == [1, 2]


def test_a_distribution_seen_twice_is_called_once(load: Callable[..., Hooks], site: Path) -> None:
    load(a="@hookimpl\ndef xai_epoch_finished(): return 1\n")
    hooks = Hooks(lambda group: [*finder(site)(group), *finder(site)(group)])
    assert hooks.call("xai_epoch_finished", fold=0, epoch=0, scalars={}) == [1]


def test_an_object_may_be_announced_too(site: Path) -> None:
    source = "from xai_core import hookimpl\nclass P:\n    @hookimpl\n    def xai_epoch_finished(self, epoch):\n"
    source += "        return epoch\np = P()\n"
    fake_distribution(site, "o", "1", entry_points={HOOK_GROUP: {"o": "hooks_o:p"}}, modules={"hooks_o.py": source})
    assert Hooks(finder(site)).call("xai_epoch_finished", fold=0, epoch=5, scalars={}) == [5]


# --- plugins that are refused


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            "import no_such_library",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'. Repair",
        ),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3. Repair or uninstall the package."),
        ("@hookimpl\ndef xai_run_begun(config): pass", "is not valid: unknown hook 'xai_run_begun'"),
        (
            "@hookimpl\ndef xai_run_started(konfig): pass",
            "is not valid: Plugin 'a pkg-a 1.0' for hook 'xai_run_started'",
        ),
        (
            "def xai_run_started(config): pass",
            "is not valid: it implements no hook; mark its functions with xai_core.h",
        ),
        (
            "@hookimpl(wrapper=True)\ndef xai_run_started(config):\n    return (yield)",
            "is not valid: its xai_run_started is a wrapper, which is not supported.",
        ),
        (
            "@hookimpl(hookwrapper=True)\ndef xai_run_started(config):\n    yield",
            "is not valid: its xai_run_started is a wrapper, which is not supported.",
        ),
    ],
)
def test_a_wrong_plugin_is_named_with_its_cause(load: Callable[..., Hooks], source: str, cause: str) -> None:
    with pytest.raises(PluginError) as error:
        load(a=source, b="@hookimpl\ndef xai_run_started(): pass")
    assert str(error.value).startswith(f"The hook plugin 'a' of pkg-a 1.0 (hooks_a) {cause}")
    assert "\n" not in str(error.value)


def test_the_unknown_argument_is_named(load: Callable[..., Hooks]) -> None:
    with pytest.raises(PluginError, match="konfig"):
        load(a="@hookimpl\ndef xai_run_started(konfig): pass")


def test_a_class_is_refused() -> None:
    """Its methods would be called without an object, only in the middle of a run."""

    class Plugin:
        @hookimpl
        def xai_run_started(self, config: object) -> None: ...

    hooks = none()
    with pytest.raises(PluginError, match="Plugin is a class; announce a module or an object"):
        hooks.register(Plugin, "plugin")
    assert active(hooks) == []


class Half:
    """Good at first: the second hook fails after the first one is registered."""

    def __init__(self) -> None:
        self.called = 0

    @hookimpl
    def xai_config_resolved(self) -> None:
        self.called += 1

    @hookimpl
    def xai_run_started(self, wrong: int) -> None:
        self.called += 1


class Misspelt(Half):
    """The same with a name that no hook has."""

    xai_run_started = None  # type: ignore[assignment]

    @hookimpl
    def xai_zzz(self) -> None:
        self.called += 1


@pytest.mark.parametrize("kind", [Half, Misspelt])
def test_a_plugin_that_fails_is_not_left_half_active(kind: type[Half]) -> None:
    hooks = none()
    plugin = kind()
    with pytest.raises(PluginError):
        hooks.register(plugin, "plugin")
    assert active(hooks) == []
    assert hooks.manager.get_plugin("plugin") is None
    hooks.call("xai_config_resolved", config={})
    assert plugin.called == 0
    good = SimpleNamespace(xai_config_resolved=hookimpl(lambda: "answer"))
    hooks.register(good, "plugin")
    assert hooks.call("xai_config_resolved", config={}) == ["answer"]


def test_a_name_given_twice_leaves_the_first_alone() -> None:
    hooks = none()
    hooks.register(SimpleNamespace(xai_config_resolved=hookimpl(lambda: 1)), "plugin")
    with pytest.raises(PluginError, match="'plugin' is not valid"):
        hooks.register(SimpleNamespace(xai_config_resolved=hookimpl(lambda: 2)), "plugin")
    assert hooks.call("xai_config_resolved", config={}) == [1]


# --- exceptions


@pytest.mark.parametrize("raised", ["KeyError('x')", "SystemExit(0)"])
def test_an_exception_stops_the_run_and_names_plugin_and_hook(load: Callable[..., Hooks], raised: str) -> None:
    hooks = load(bad=f"@hookimpl\ndef xai_run_started(): raise {raised}\n")
    with pytest.raises(PluginError) as error:
        hooks.call("xai_run_started", **RUN)
    kind = raised.partition("(")[0]
    assert str(error.value).startswith(
        f"The hook xai_run_started of the plugin 'bad' of pkg-bad 1.0 (hooks_bad) failed: {kind}: "
    )
    assert type(error.value.__cause__).__name__ == kind


def test_an_expected_error_passes_as_it_is(load: Callable[..., Hooks]) -> None:
    source = (
        "from xai_core import InputError\n@hookimpl\ndef xai_dataset_ready(): raise InputError('12 scans are too few')"
    )
    with pytest.raises(InputError, match=r"^12 scans are too few$"):
        load(a=source).call("xai_dataset_ready", config={}, subjects=[])


def test_an_interrupt_passes_as_it_is(load: Callable[..., Hooks]) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(a="@hookimpl\ndef xai_run_finished(): raise KeyboardInterrupt").call("xai_run_finished", **RUN)


@pytest.mark.parametrize("hook", sorted(GUARDED))
@pytest.mark.parametrize("raised", ["KeyError('x')", "InputError('x')", "SystemExit(0)"])
def test_a_guarded_hook_only_logs(
    load: Callable[..., Hooks],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    raised: str,
) -> None:
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    hooks = load(
        bad=f"from xai_core import InputError\n@hookimpl\ndef {hook}(): raise {raised}\n",
        good=f"@hookimpl\ndef {hook}(folder): return folder\n",
    )
    extra = {"error": ValueError()} if hook == "xai_run_failed" else {}
    with caplog.at_level(logging.WARNING, "xai"):
        assert hooks.call(hook, **RUN, **extra) == [RUN["folder"]]
    (record,) = caplog.records
    assert f"The hook {hook} of the plugin 'bad' of pkg-bad 1.0 (hooks_bad) failed: " in record.getMessage()


def test_only_the_last_two_are_guarded() -> None:
    assert {"xai_run_failed", "xai_run_finished"} == GUARDED


# --- xai doctor


def doctor(site: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    from xai_core.cli.doctor import command

    done = CliRunner().invoke(command, ["--json"], catch_exceptions=False)
    return done.exit_code, {row["check"]: row for row in json.loads(done.stdout)}


def test_health_checks_are_rows_of_doctor(load: Callable[..., Hooks], site: Path) -> None:
    rows_of_plugin = [("scratch", True, "9 GB"), ("licence", False, "absent: get one")]
    load(a=f"@hookimpl\ndef xai_health_checks(): return {rows_of_plugin}\n")
    code, rows = doctor(site)
    assert rows["scratch"] == {"check": "scratch", "ok": True, "found": "9 GB"}
    assert rows["licence"] == {"check": "licence", "ok": False, "found": "absent: get one"}
    assert code == 1


def test_a_broken_hook_plugin_is_a_row_of_doctor(load: Callable[..., Hooks], site: Path) -> None:
    with pytest.raises(PluginError):
        load(a="import nope")
    code, rows = doctor(site)
    assert "'a' of pkg-a 1.0 (hooks_a) cannot be imported: ModuleNotFoundError" in rows["hooks"]["found"]
    assert code == 3


def test_a_failing_health_check_is_a_row_of_doctor(load: Callable[..., Hooks], site: Path) -> None:
    load(a="@hookimpl\ndef xai_health_checks(): raise KeyError('x')\n")
    code, rows = doctor(site)
    assert "The hook xai_health_checks of the plugin 'a'" in rows["hooks"]["found"]
    assert code == 3


# --- the documentation is true


def example_of(hook: str) -> str:
    return textwrap.dedent(inspect.getdoc(HOOKS[hook]).partition("Example::")[2])  # type: ignore[union-attr]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_when_with_what_and_to_which_effect(hook: str) -> None:
    text = inspect.getdoc(HOOKS[hook]) or ""
    assert text.startswith("Called "), "the docstring begins with when it is called"
    block = re.search(r"^Args:\n((?: .*\n|\n)*)", text, re.MULTILINE)
    documented = re.findall(r"^    (\w+): \S", block.group(1), re.MULTILINE) if block else []
    assert documented == arguments_of(hook)
    ignored, returns = "The return value is ignored" in text, "Returns:\n" in text
    assert ignored != returns, "either the return value is ignored or it is described"
    annotation = inspect.signature(HOOKS[hook]).return_annotation
    assert ignored == (annotation in (None, "None"))


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_is_a_plugin(hook: str) -> None:
    code = example_of(hook)
    (function,) = ast.parse(code).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == hook
    assert 4 <= len(code.strip().splitlines()) + 1 <= 6, "about five lines"
    names = {"hookimpl": hookimpl}
    exec(code, names)
    hooks = none()
    hooks.register(SimpleNamespace(**{hook: names[hook]}), "example")
    assert active(hooks) == [hook]


def calls() -> dict[str, list[set[str]]]:
    """Every ``.call("xai_...", ...)`` of the frame, with the arguments that it gives."""
    found: dict[str, list[set[str]]] = {}
    for file in Path(xai_core.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "call" and node.args:
                name = getattr(node.args[0], "value", None)
                if isinstance(name, str):
                    found.setdefault(name, []).append({str(keyword.arg) for keyword in node.keywords})
    return found


def test_every_hook_is_called_with_its_arguments() -> None:
    found = calls()
    assert set(found) == set(HOOKS)
    for hook, given in found.items():
        assert all(names == set(arguments_of(hook)) for names in given), hook


def test_every_hook_is_tested_in_a_run_or_here() -> None:
    here = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    untested = [hook for hook in HOOKS if f"def {hook}" not in here]
    assert untested == []
