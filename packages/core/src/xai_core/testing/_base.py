"""What holds for a component of any kind."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from .. import registry
from ..errors import ConfigError
from ..interfaces import Component
from ..schemas import problems_of

__all__ = ["ComponentConformance"]

_LIGHT = """
import sys
from xai_core import registry
registry.get({kind!r}, {name!r})
registry.schema({kind!r}, {name!r})
heavy = [m for m in ("torch", "torchio", "zennit", "captum", "nibabel", "numpy", "pandas") if m in sys.modules]
sys.exit("imports " + ", ".join(heavy) if heavy else 0)
"""


class ComponentConformance:
    """Checks for every kind.

    Attributes:
        kind: Kind in the singular; set by the suites of the kinds.
        name: Registry name of the component under test; may be ``package:name``.
        params: Parameters that it is created with.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    params: ClassVar[Mapping[str, Any]] = {}

    def create(self) -> Any:
        """Return the component with ``params``."""
        return registry.create(self.kind, self.name, **self.params)

    def component(self) -> type[Component]:
        """Return the component's class."""
        return registry.get(self.kind, self.name)

    def test_resolves_through_its_entry_point(self) -> None:
        """An installed package announces it, and it can be imported."""
        info = registry.info(self.kind, self.name)
        assert info.package != "(this process)", f"{self.name} is registered in this process, not by an entry point"
        self.component()

    def test_leaves_torch_out(self) -> None:
        """Finding it and reading its schema is light."""
        code = _LIGHT.format(kind=self.kind, name=self.name)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"the module of {self.name} is not light: {done.stderr.strip()[-300:]}"

    def test_has_a_summary(self) -> None:
        """The first line of the class's own docstring is shown by ``xai plugins``."""
        summary = (self.component().__doc__ or "").strip().partition("\n")[0]
        assert summary, f"{self.component().__name__} has no docstring"

    def test_parameters_are_described(self) -> None:
        """Every parameter says what it is. (That the schema is JSON Schema 2020-12 is seen to at each import.)"""
        properties = self.component().config_schema.get("properties", {})
        silent = [name for name, prop in properties.items() if not prop.get("description")]
        assert not silent, f"parameters without a description: {silent}"

    def test_schema_and_constructor_agree(self) -> None:
        """They have the same names, defaults and required parameters, and the defaults fit the schema."""
        schema = self.component().config_schema
        properties = schema.get("properties", {})
        parameters = dict(inspect.signature(self.component()).parameters)
        kinds = {name: p.kind for name, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY}
        assert not kinds, f"constructor parameters must be keyword-only: {sorted(kinds)}"
        assert set(properties) == set(parameters), f"schema {sorted(properties)}, constructor {sorted(parameters)}"
        for name, parameter in parameters.items():
            required = parameter.default is inspect.Parameter.empty
            assert required == (name in schema.get("required", ())), f"{name}: required in one, not in the other"
            assert required == ("default" not in properties[name]), f"{name}: default in one, none in the other"
            if not required:
                default = properties[name]["default"]
                assert _same(default, parameter.default), (
                    f"{name}: default {default!r}, constructor {parameter.default!r}"
                )
                assert not problems_of(properties[name], default), f"{name}: the default {default!r} does not fit"

    def test_unknown_parameter_is_refused(self) -> None:
        """A misspelt parameter is an error that names it."""
        try:
            registry.create(self.kind, self.name, **self.params, no_such_parameter=1)
        except ConfigError as error:
            assert "no_such_parameter" in str(error), f"the message does not name the parameter: {error}"
        else:
            raise AssertionError("an unknown parameter was accepted")


def _same(schema_value: Any, default: Any) -> bool:
    if isinstance(schema_value, list | tuple) and isinstance(default, list | tuple):
        return list(schema_value) == list(default)
    return type(schema_value) is type(default) and bool(schema_value == default)
