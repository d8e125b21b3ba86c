"""Options and output that several commands share."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "covariate_option", "echo_json", "fold_option", "log_to_stderr", "metric_lines", "pipeline_options", "short",
    "training_people_option", "verbose_option",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

_PIPELINE_OPTIONS = (
    click.argument("pipeline", type=click.Path(path_type=Path)),
    click.option("--name", help="Name of the experiment and of its run folder."),
    click.option("--model", help="Registry name of the model."),
    click.option("--data", help="A study table, a BIDS folder, or the registry name of a dataset."),
    click.option("--epochs", type=int, help="Number of training epochs."),
    click.option("--device", help="auto, cpu, cuda, cuda:1 or mps."),
    click.option("--output", help="Folder that the run folder is made in."),
    click.option("--set", "sets", multiple=True, metavar="KEY=VALUE",
                 help="Change anything: --set model.params.depth=10 (may be repeated)."),
)  # fmt: skip


def verbose_option(function: F) -> F:
    """Accept ``-v`` after the command's name too; ``main`` looks for it."""
    option = click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    return option(function)


def _covariates(_ctx: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not (name.strip() and separator) or name.strip() in found:
            what = "is given twice" if separator and name.strip() else "is not NAME=VALUE, such as age=71"
            raise click.BadParameter(f"{value!r} {what}.")
        found[name.strip()] = text.strip()
    return found


def covariate_option(function: F) -> F:
    """Add ``--covariate NAME=VALUE``: a mapping ``covariates`` of texts."""
    option = click.option(
        "--covariate", "covariates", multiple=True, metavar="NAME=VALUE", callback=_covariates,
        help="What preprocessing reads of the person, such as age=71 (may be repeated).",
    )  # fmt: skip
    return option(function)


def _fold(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "all":
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither the number of a fold nor 'all'.") from None


def fold_option(function: F) -> F:
    """Add ``--fold``: a number, ``"all"`` or None."""
    text = "Which fold's network (default: 0); 'all': the folds vote, and their maps are averaged."
    return click.option("--fold", metavar="NUMBER|all", callback=_fold, help=text)(function)


def training_people_option(function: F) -> F:
    """Add ``--allow-training-people``."""
    text = "Also scans of people whom the network was trained or validated on; the output is marked."
    return click.option("--allow-training-people", is_flag=True, help=text)(function)


def pipeline_options(function: F) -> F:
    """Add the pipeline file, the short options and ``--set``."""
    for option in reversed(_PIPELINE_OPTIONS):
        function = option(function)
    return verbose_option(function)


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is at the time: a program that calls the command line may replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:  # main prints what ended the run
            click.echo(self.format(record), err=True)


def log_to_stderr() -> None:
    """Show the run's messages, without times: log.txt has those."""
    log = logging.getLogger("xai")
    if not any(isinstance(handler, _ToStderr) for handler in log.handlers):
        log.addHandler(_ToStderr())
    log.setLevel(logging.INFO)
    log.propagate = False


def short(path: Path) -> str:
    """Return a path relative to the working folder where it lies below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def echo_json(value: object) -> None:
    """Print JSON for a program."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the scores of the test people as lines: ``auc  0.912 [0.840, 0.971]``."""
    scores = {name: score for name, score in metrics.items() if isinstance(score, Mapping) and "value" in score}
    width = max((len(name) for name in scores), default=0)
    return [f"  {name:<{width}}  {_interval(score)}" for name, score in scores.items()]


def _interval(score: Mapping[str, Any]) -> str:
    if score["value"] is None:
        return "not defined"
    low, high = score.get("low"), score.get("high")
    interval = f"  [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{score['value']:.3f}{interval}"
