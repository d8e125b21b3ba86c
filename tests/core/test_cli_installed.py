"""Commands that other packages bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xai_core.cli import COMMANDS
from xai_core.cli._installed import ABSENT, GROUP
from xai_core.testing import fake_distribution

Xai = Callable[..., tuple[int, str, str]]

GOOD = '''
import click


@click.command()
@click.argument("what")
def command(what):
    """Shout."""
    click.echo(what.upper())
'''


def install(site: Path, package: str, name: str, source: str) -> None:
    module = package.replace("-", "_")
    points = {GROUP: {name: f"{module}:command"}}
    fake_distribution(site, package, "1.0", entry_points=points, modules={f"{module}.py": source})


def test_a_command_of_a_package_is_listed_and_run(xai: Xai, site: Path) -> None:
    install(site, "shouting", "shout", GOOD)
    assert xai("shout", "word") == (0, "WORD\n", "")
    code, out, err = xai("--help")
    assert (code, err) == (0, "")
    assert "shout" in out
    assert "Shout." in out


def test_a_broken_command_breaks_only_itself(xai: Xai, site: Path) -> None:
    install(site, "bad", "broken", "import nope")
    code, out, _ = xai("--help")
    assert code == 0
    assert "(broken; 'xai broken' says why)" in out
    code, _, err = xai("broken")
    assert code == 3
    assert "bad 1.0 (bad:command) cannot be imported: ModuleNotFoundError" in err


def test_what_is_no_command_is_named(xai: Xai, site: Path) -> None:
    install(site, "wrong", "number", "command = 3")
    code, _, err = xai("number")
    assert code == 3
    assert "is not a click.Command but int" in err


def test_two_packages_with_one_command_are_both_named(xai: Xai, site: Path) -> None:
    install(site, "one", "shout", GOOD)
    install(site, "two", "shout", GOOD)
    code, _, err = xai("shout", "word")
    assert code == 3
    assert "one 1.0 and two 1.0" in err


def test_a_package_cannot_replace_a_command_of_ours(xai: Xai, site: Path) -> None:
    install(site, "greedy", "doctor", GOOD)
    code, out, _ = xai("doctor", "--help")
    assert code == 0
    assert "Shout" not in out
    assert xai("--help")[1].count("  doctor ") == 1


@pytest.mark.parametrize("name", ABSENT)
def test_a_known_command_that_is_absent_tells_what_to_install(
    xai: Xai, site: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("xai_core.cli.installed", dict)
    code, _, err = xai(name)
    assert code == 2
    assert f"pip install {ABSENT[name]}" in err
    assert name not in COMMANDS
