"""The command line. Every command is a module of its own, imported when it is used."""

from __future__ import annotations

import importlib
import sys
import traceback

import click

from ..errors import XaiError
from ._installed import ABSENT, installed, load, summary

__all__ = ["cli", "main"]

COMMANDS = {
    "run": "Train, evaluate, explain and report a study.",
    "train": "Train and evaluate a study; explain nothing yet.",
    "predict": "Predict scans with a trained network.",
    "explain": "Explain the test people of a run, or a scan of your own.",
    "report": "Write the report of a run again.",
    "sweep": "Search for hyper-parameters by nested cross-validation.",
    "compare": "Tell whether one run is better than another.",
    "ensemble": "Let finished runs vote together.",
    "validate": "Check a pipeline file without running it.",
    "check-leakage": "Look for leaks between training and test.",
    "plugins": "List the installed components.",
    "cache": "Show or clear the preprocessed scans that are kept.",
    "schema": "Print the JSON Schema of pipeline files or of one component.",
    "doctor": "Check the installation.",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when that command is used, and those of other packages for the list."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*COMMANDS, *(name for name in installed() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            points = installed().get(cmd_name)
            return None if points is None else load(cmd_name, points)
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in (known := self.list_commands(ctx)):
            if args[0] in ABSENT:
                ctx.fail(f"The command {args[0]!r} is not installed. Install it: pip install {ABSENT[args[0]]}.")
            from ..schemas import did_you_mean

            ctx.fail(f"There is no command {args[0]!r}.{did_you_mean(args[0], known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        others = [(name, summary(name, points)) for name, points in installed().items() if name not in COMMANDS]
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *others])


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"xai {version('xai-core')}")
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """Train 3D CNNs on brain MRI and see why the network decided.

    One YAML file describes a study; 'xai run pipeline.yaml' carries it out.
    """
    ctx.obj = {"verbose": verbose}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 the run failed, 2 wrong input, 3 a broken plugin."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=arguments, prog_name="xai", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except XaiError as error:
        _fail(str(error), error.exit_code, arguments)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("Interrupted. What was finished stays; the same command goes on from there.", 130, [])
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        message = f"{type(error).__name__}: {error}\nThis is a defect, of this program or of a plugin. -v shows where."
        _fail(message, 1, arguments)


def _fail(message: str, code: int, arguments: list[str]) -> None:
    if any(argument in ("-v", "--verbose") for argument in arguments):
        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
