"""Predicts and explains one scan, as ``xai_core.load(run).explain`` does. Runs in the process of the worker."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import InputError
from xai_core.progress import Listener, listening

from .worker import FailedError, Request, Steps, Tell

if TYPE_CHECKING:
    from xai_core import Run
    from xai_core.engine.ensemblefiles import EnsembleExplanation
    from xai_core.engine.explaining import Explanation

__all__ = ["explain"]

SEEN_CODE = "seen"
"""The scan is of somebody whom the network was trained or validated on."""

_PAUSE = 0.1  # seconds between two reports of the same work

_runs: dict[str, Run] = {}


def explain(request: Request, tell: Tell) -> dict[str, Any]:
    """Carry out a request and leave the files of its result in its folder.

    Args:
        request: ``run`` (folder), ``images`` (a file for each channel), ``names`` (what their owner calls them),
            ``stem`` (what the maps' names begin with), ``who`` (scan, person and session for the sidecars),
            ``source`` (for the sidecars), ``covariates``, ``fold`` (a
            number or ``"all"``), ``explainers`` (ids), ``target`` (class or None), ``allow`` (training people),
            ``folder``, ``key`` (of the volumes in the viewer), ``warnings`` (that are known before) and ``place`` (of
            ``place.placed``).
        tell: Told each step, and how far the explanation is.

    Returns:
        What the page shows: ``prediction``, ``explained``, ``seen``, ``warnings``, ``files`` and ``person``, as the
        viewer's manifest has it.

    Raises:
        FailedError: It is refused.
    """
    run = _run(request["run"])
    with _warnings() as warned:
        prediction, maps = _computed(run, request, tell)
    tell("drawing")
    folder = Path(request["folder"])
    files = {name: _saved(folder, request, name, one) for name, one in maps.items()}
    return _result(run, request, prediction, maps, files, warned)


def _run(folder: str) -> Run:
    """Return the run; it is kept, since its configuration takes a while to check."""
    import xai_core

    if folder not in _runs:
        _runs[folder] = xai_core.load(folder)
    return _runs[folder]


def _computed(
    run: Run, request: Request, tell: Tell
) -> tuple[dict[str, Any], Mapping[str, Explanation | EnsembleExplanation]]:
    tell("loading")
    fold, images = request["fold"], request["images"]
    image = images[0] if len(images) == 1 else images
    options = {"covariates": request["covariates"], "allow_training_people": request["allow"]}
    try:
        # Opened anew for each request: a fold tells its warnings once.
        network = run.pipeline.all_folds() if fold == "all" else run.fold(fold)
        tell("predicting")
        prediction = network.predict(image, **options)
        tell("explaining")
        target = request["target"]
        if target is None and fold == "all" and run.classes is not None:
            target = str(prediction["prediction"])  # what the folds vote for; it need not be found out twice
        with listening(_throttled(lambda far: tell("explaining", far))):
            return prediction, network.explain(image, request["explainers"], target, **options)
    except InputError as error:
        told = _in_their_names(str(error), request)
        raise FailedError(told, SEEN_CODE if "allow_training_people" in told else "") from error


def _throttled(listener: Listener) -> Listener:
    """Pass on what begins, and the rest now and then: thousands of windows a second need not be told."""
    last, before = 0.0, ""

    def tell(far: Steps) -> None:
        nonlocal last, before
        now, name = time.monotonic(), "/".join(one.what for one in far)
        if name != before or now - last > _PAUSE:
            last, before = now, name
            listener(far)

    return tell


def _in_their_names(text: str, request: Request) -> str:
    """Name files as their owner does; where they lie here says nothing to anybody."""
    for path, name in zip(request["images"], request.get("names") or (), strict=False):
        text = text.replace(path, name)
    return text


def _saved(
    folder: Path, request: Request, explainer: str, found: Explanation | EnsembleExplanation
) -> list[dict[str, str]]:
    """Write the maps of an explainer with their sidecars, and return their names."""
    from xai_core.config.resolve import bids_label

    statistic = str(found.sidecar.get("statistic", ""))
    label = bids_label(explainer) + statistic.capitalize()
    more = {**request.get("who", {}), "image": request["source"], "covariates": request["covariates"]}
    before = set(folder.iterdir())
    main = folder / f"{request['stem']}_desc-{label}_relevance.nii.gz"
    _with(found, more).save(main)
    made = sorted(path.name for path in set(folder.iterdir()) - before)
    return [
        {"image": name, "sidecar": name.replace(".nii.gz", ".json")}
        for name in sorted(made, key=lambda name: (name != main.name, name))
        if name.endswith(".nii.gz")
    ]


def _with(found: Explanation | EnsembleExplanation, more: Mapping[str, Any]) -> Explanation | EnsembleExplanation:
    """Return an explanation whose sidecars, also those of an ensemble's further maps, say more."""
    from xai_core.engine.ensemblefiles import EnsembleExplanation

    sidecar = {**found.sidecar, **more}
    if not isinstance(found, EnsembleExplanation):
        return replace(found, sidecar=sidecar)
    statistics = {name: (image, {**about, **more}) for name, (image, about) in found.statistics.items()}
    return replace(found, sidecar=sidecar, statistics=statistics)


def _result(
    run: Run,
    request: Request,
    prediction: Mapping[str, Any],
    maps: Mapping[str, Explanation | EnsembleExplanation],
    files: Mapping[str, Sequence[Mapping[str, str]]],
    warned: Sequence[str],
) -> dict[str, Any]:
    from xai_core.engine.seen import SEEN

    from .place import placed

    sidecar = next(iter(maps.values())).sidecar
    seen = bool(prediction.get(SEEN)) or any(bool(one.sidecar.get(SEEN)) for one in maps.values())
    place, warnings = placed(request["place"], request["images"][0], sidecar)
    person = {
        "key": request["key"],
        "fold": request["fold"],
        "maps": [run.explainers.index(name) for name in maps],
        "scan": True,
        "truth": False,
        "seen": seen,
        **({} if run.classes is None else {"explained": str(sidecar["target_name"])}),
        **_decision(prediction, run.classes),
        **place,
    }
    _draw(request, {run.explainers.index(name): files[name][0]["image"] for name in maps})
    return {
        "prediction": {name: _plain(value) for name, value in prediction.items() if name != SEEN},
        "explained": str(sidecar["target_name"]),
        "seen": seen,
        "warnings": list(
            dict.fromkeys([*request["warnings"], *(_in_their_names(one, request) for one in warned), *warnings])
        ),
        "files": [{"explainer": name, **one} for name in maps for one in files[name]],
        "person": person,
    }


def _decision(prediction: Mapping[str, Any], classes: Sequence[str] | None) -> dict[str, Any]:
    if classes is None:
        return {"prediction": float(prediction["prediction"])}
    chances = {
        name: float(prediction[f"probability_{name}"]) for name in classes if f"probability_{name}" in prediction
    }
    return {"prediction": str(prediction["prediction"]), "probabilities": chances}


def _plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _draw(request: Request, maps: Mapping[int, str]) -> None:
    """Write the volumes as the viewer reads them: the scan itself is removed when this job has ended."""
    from .._viewer.manifest import Viewed
    from .._viewer.pages import binary

    folder, key = Path(request["folder"]), request["key"]
    volumes = {f"{key}-scan": Path(request["images"][0])}
    volumes |= {f"{key}-m{index}": folder / name for index, name in maps.items()}
    for name in volumes:
        (folder / f"{name}.bin").write_bytes(binary(name, Viewed({}, volumes, {})))


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what the framework warns of."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    log, handler = logging.getLogger("xai"), Collector(logging.WARNING)
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)
