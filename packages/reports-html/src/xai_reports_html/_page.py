"""The page."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from . import __version__
from ._account import LOSS, summaries
from ._charts import confusion_chart, roc_chart, scatter_chart, training_chart
from ._literature import limits_of, references
from ._methods import known_limits, meaning
from ._people import cards, data_uri
from ._scores import against_chance, correction_note, first_repeat, group_tables, if_made, score_charts
from ._summary import class_name, components, described, evaluation_rows, metric_rows, plural

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .plugin import HtmlReport

__all__ = ["write_page"]

_HEADLINE = ("balanced_accuracy", "auc", "sensitivity", "specificity", "mae", "r", "r2")


def write_page(run: RunResults, output: Path, options: HtmlReport) -> Path:
    """Write ``index.html`` and ``figures``; see ``HtmlReport.write``."""
    figures = output / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    config, info = run.config, run.info
    metrics = if_made(run.metrics) or {}
    rows = metric_rows(metrics)
    held_out = if_made(run.held_out_metrics) or {}
    records = run.maps()
    people = cards(run, records, figures, options) if if_made(run.predictions) is not None else None
    page = _template().render(
        name=str(config.get("name", run.folder.name)),
        task=run.task,
        classes=run.classes,
        sentences=described(run),
        quality=(run.folder / "quality" / "index.html").is_file(),
        components=components(config),
        rows=rows,
        held_out={**held_out.get("ensemble", {}), "rows": metric_rows(held_out, "ensemble")},
        tiles=_headline(rows),
        test=metrics.get("test", {}),
        folds=len(metrics.get("folds", [])),
        charts=_charts(run, metrics, figures),
        repeats=len(metrics.get("repeats", [])),
        chance=against_chance(metrics.get("test", {})),
        groups=group_tables(run),
        correction=correction_note(run),
        people=people,
        accounts=summaries(records, [slot["id"] for slot in _explainers(config)]),
        limit=f"{100 * LOSS:g} %",
        methods=_methods(config),
        options=options,
        evaluations=_evaluations(run),
        analyses=_analyses(run),
        versions=_versions(info),
        facts=[(key, info[key]) for key in ("device", "seed", "people", "scans", "folds") if key in info],
        references=references(config, _libraries(info)),
        on_limits=limits_of(config),
        version=__version__,
        plural=plural,
        style=_resource("style.css"),
    )
    path = output / "index.html"
    path.write_text(page, encoding="utf-8", newline="\n")
    return path


def _explainers(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the slots of the explainers with their ids and parameters."""
    slots = config.get("explainers") or []
    return [{**slot, "id": str(slot.get("id", slot["name"])), "params": slot.get("params") or {}} for slot in slots]


def _methods(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how the maps of each explainer are read, and its known limits."""
    return [
        {
            "id": slot["id"],
            "meaning": meaning(slot["name"], slot["params"]),
            "limits": known_limits(slot["name"], slot["params"]),
        }
        for slot in _explainers(config)
    ]


def _headline(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the four scores to show large: the best known ones first."""
    known = [row for name in _HEADLINE for row in rows if row["key"] == name]
    return (known + [row for row in rows if row not in known])[:4]


def _resource(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("report.html.j2"))


def _charts(run: RunResults, metrics: dict[str, Any], figures: Path) -> dict[str, str]:
    """Draw what the run has data for; addresses of the pictures by name."""
    drawn: dict[str, bytes | None] = {}
    predictions = if_made(run.predictions)
    if predictions is not None and len(predictions):
        repeated, predictions = "repeat" in predictions, first_repeat(predictions)
        if run.classes is None:
            drawn["scatter"] = scatter_chart(predictions["target"].tolist(), predictions["prediction"].tolist())
        else:
            true = [class_name(value, run.classes) for value in predictions["target"]]
            columns = {name: f"probability_{name}" for name in run.classes}
            if set(columns.values()) <= set(predictions.columns):
                found = {n: predictions[c].tolist() for n, c in columns.items()}
                drawn["roc"] = roc_chart(
                    true, found, run.classes, _folds(predictions), "" if repeated else _interval(metrics)
                )
        drawn |= score_charts(run, predictions)
    matrix = metrics.get("test", {}).get("confusion_matrix")
    if matrix and run.classes is not None:
        drawn["confusion"] = confusion_chart(matrix, run.classes)
    histories = {fold: history for fold in run.folds() if (history := _history(run, fold)) is not None}
    drawn["training"] = training_chart(histories) if histories else None
    made = {name: chart for name, chart in drawn.items() if chart is not None}
    for name, chart in made.items():
        (figures / f"{name}.png").write_bytes(chart)
    return {name: data_uri(chart) for name, chart in made.items()}


def _folds(predictions: Any) -> list[int]:
    return predictions["fold"].tolist() if "fold" in predictions else []


def _interval(metrics: dict[str, Any]) -> str:
    """The interval of the area as the legend shows it: DeLong's where there is one."""
    test = metrics.get("test", {})
    score = test.get("auc_delong") or test.get("auc") or {}
    if score.get("low") is None or score.get("high") is None:
        return ""
    return f" [{score['low']:.3f}, {score['high']:.3f}]"


def _history(run: RunResults, fold: int) -> Any:
    try:
        history = run.history(fold)
    except (OSError, ValueError):  # a trainer of another package may leave none
        return None
    return history if "epoch" in history and len(history) else None


def _evaluations(run: RunResults) -> list[dict[str, Any]]:
    found = []
    for slot in run.config.get("evaluators") or []:
        name = slot.get("id", slot.get("name"))
        table = if_made(lambda name=name: run.evaluation(name))  # type: ignore[misc]
        if table is not None and len(table):
            found.append({"id": name, "rows": evaluation_rows(table)})
    return found


def _analyses(run: RunResults) -> list[dict[str, Any]]:
    found = []
    for slot in run.config.get("analyses") or []:
        folder = run.folder / "analysis" / str(slot.get("id", slot.get("name")))
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        found.append({"id": folder.name, "files": names})
    return found


def _versions(info: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = [*(info.get("versions") or {}).items(), *(info.get("components") or {}).items()]
    return [(str(name), str(version)) for name, version in pairs]


def _libraries(info: dict[str, Any]) -> list[str]:
    return [str(name) for name in info.get("versions") or {}]
