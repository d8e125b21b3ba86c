"""The explanations of a study's test people: made one after another, read ahead, written in the background."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import torchio as tio

from .. import registry
from ..errors import InputError, PluginError
from ..types import Attribution
from .attribution import check_untouched, fingerprint
from .calls import at_work
from .controls import with_controls
from .explaining import attribute_subject, map_path, on_scan_grid
from .foldconfig import fold_study
from .folds import FoldModel, training_key
from .hooks import Hooks
from .imagefiles import to_explain
from .preprocessing import volume
from .progress import log, track
from .repeats import fold_of_map, is_repeated
from .scans import image_of
from .seeding import seeded, unit_seed
from .study import Study, scan_name
from .units import Units, content_key
from .versions import slot_identity

__all__ = ["drop_stale_maps", "evaluation_rows", "explain_fold"]


class _Background:
    """Work beside the network that draws no random numbers: reading the next scan, and writing the last map.

    At most one scan is read ahead and one map waits to be written, so that memory stays bounded.
    """

    def __init__(self) -> None:
        self._reader, self._writer = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "write")
        self._reading: Future[tio.Subject] | None = None
        self._writing: Future[None] | None = None

    def read(self, scan: tio.Subject) -> None:
        """Begin to load a scan, into a copy: the study's own subject must not keep its voxels in memory."""
        self._reading = self._reader.submit(_loaded, deepcopy(scan))

    def take(self) -> tio.Subject:
        """Return the scan that was asked for last, loaded.

        Raises:
            InputError: It cannot be read any more.
        """
        assert self._reading is not None
        return self._reading.result()

    def write(self, work: Callable[[], None]) -> None:
        """Begin to write as soon as the last map is written; raise what went wrong with that."""
        self.finish()
        self._writing = self._writer.submit(work)

    def finish(self) -> None:
        """Wait for the last map; raise what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """End both threads."""
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()


def _loaded(scan: tio.Subject) -> tio.Subject:
    for image in scan.get_images(intensity_only=False):
        try:
            image.load()
        except Exception as error:  # whatever the readers raise
            raise InputError(
                f"{scan_name(scan)}: {image.path} cannot be read any more, though it could when the run began "
                f"({type(error).__name__}: {error}). Bring it back and run again."
            ) from error
    return scan


def explain_fold(study: Study, units: Units, hooks: Hooks, index: int, load: Callable[[], FoldModel]) -> None:
    """Explain and score every test scan of a fold, as far as that is not done already."""
    config = study.config
    wanted = _wanted(study, index)
    todo = [where for where, keys in wanted.items() if not all(units.is_done(n, k) for n, k in keys.items())]
    if not todo:
        if wanted:
            log.info("fold %d: %d explanations are done already", index, len(wanted))
        return
    model = with_controls(study, units, load(), config["explainers"])
    by_scan: dict[int, list[int]] = {}
    for scan, position in todo:
        by_scan.setdefault(scan, []).append(position)
    scans = list(by_scan)
    background = _Background()
    try:
        _read_ahead(study, model, background, scans[0])
        for turn, scan in enumerate(track(scans, f"fold {index}: explaining")):
            subject = background.take()
            if turn + 1 < len(scans):
                _read_ahead(study, model, background, scans[turn + 1])
            own = to_explain(study.subjects[scan])
            pair = subject, model.preprocessing.cached(scan, own, loaded=subject, all_images=True)
            for position in by_scan[scan]:
                slot = config["explainers"][position]
                _explain_unit(study, units, hooks, model, scan, pair, slot, wanted[scan, position], background)
        background.finish()
    finally:
        background.close()


def _read_ahead(study: Study, model: FoldModel, background: _Background, scan: int) -> None:
    subject = to_explain(study.subjects[scan])
    model.preprocessing.expect(scan, subject)
    background.read(subject)


def drop_stale_maps(study: Study, units: Units) -> None:
    """Remove maps and scores of networks that are no more and of people who are in no test part now.

    A changed study can move a person from the test to the training part; the old map would look like a result.
    """
    wanted = {
        unit for fold in range(len(study.folds)) for keys in _wanted(study, fold).values() for unit in keys.items()
    }
    removed = [name for group in ("maps", "evaluation") for name in units.keep_only(group, wanted)]
    if removed:
        log.info("removed %d maps and scores that belong to this study no more", len(removed))


def _wanted(study: Study, index: int) -> dict[tuple[int, int], dict[str, str]]:
    """Return name and key of the units of every test scan (its position) and explainer (its position) of a fold."""
    fold = study.folds[index]
    key = training_key(study, fold)
    study = fold_study(study, index)
    return {
        (scan, position): _units_of(study, scan, slot, index, key)
        for scan in study.part(fold.test)
        for position, slot in enumerate(study.config["explainers"])
    }


def _units_of(study: Study, scan: int, slot: Mapping[str, Any], fold: int, training: str) -> dict[str, str]:
    """Return name and key of the map's unit and of each evaluator's for one scan and one explainer."""
    name = study.names[scan]
    map_key = content_key(
        training=training,
        scan=study.identities[scan],
        fold=fold,
        explainer=slot_identity("explainer", slot),
        id=slot["id"],
    )
    keys = {_map_unit(study, name, slot, fold): map_key}
    for evaluator in study.config["evaluators"]:
        identity, truth = slot_identity("evaluator", evaluator), study.truth_hashes[scan]
        keys[_evaluation_unit(study, name, slot, fold, evaluator)] = content_key(
            map=map_key, evaluator=identity, truth=truth
        )
    return keys


def _name_of_map(study: Study, slot: Mapping[str, Any], fold: int) -> str:
    """Return an explainer's id, with the fold where several folds test a person and each has a map of its own."""
    shown = fold_of_map(study.folds, fold)
    return str(slot["id"]) if shown is None else f"{slot['id']}.fold-{shown}"


def _map_unit(study: Study, scan: str, slot: Mapping[str, Any], fold: int) -> str:
    return f"maps/{scan}/{_name_of_map(study, slot, fold)}"


def _evaluation_unit(study: Study, scan: str, slot: Mapping[str, Any], fold: int, evaluator: Mapping[str, Any]) -> str:
    return f"evaluation/{evaluator['id']}/{scan}/{_name_of_map(study, slot, fold)}"


def _explain_unit(
    study: Study,
    units: Units,
    hooks: Hooks,
    model: FoldModel,
    scan: int,
    pair: tuple[tio.Subject, tio.Subject],
    slot: Mapping[str, Any],
    wanted: Mapping[str, str],
    background: _Background,
) -> None:
    name = study.names[scan]
    subject, prepared = pair
    attribution = attribute_subject(model, slot, prepared, seed=study.config["seed"], hooks=hooks)
    unit = _map_unit(study, name, slot, model.index)
    if not units.is_done(unit, wanted[unit]):

        def write() -> None:
            explanation = on_scan_grid(model, slot, subject, prepared, attribution)
            path = map_path(name, slot["id"], fold_of_map(study.folds, model.index))
            with units.make(unit, wanted[unit], str(Path("derivatives") / path.parent)) as folder:
                explanation.save(folder / path.name)

        background.write(write)
    for evaluator in study.config["evaluators"]:
        scored = _evaluation_unit(study, name, slot, model.index, evaluator)
        if not units.is_done(scored, wanted[scored]):
            scores = _scores(evaluator, model, prepared, attribution, study.config["seed"])
            row = {"scan_id": name, "subject_id": str(prepared["subject_id"]), "explainer": slot["id"], **scores}
            with units.make(scored, wanted[scored], f".xai/{Path(scored).parent}") as folder:
                (folder / f"{Path(scored).name}.json").write_text(json.dumps(row), encoding="utf-8")


def _scores(
    evaluator: Mapping[str, Any], model: FoldModel, prepared: tio.Subject, attribution: Attribution, seed: int
) -> Mapping[str, float | None]:
    volumes = volume(prepared)[None].to(model.device)
    truth = prepared.get("ground_truth")
    masks = None
    if isinstance(truth, tio.Image):
        if truth.spatial_shape != image_of(prepared).spatial_shape:
            raise InputError(f"{prepared['subject_id']}: the ground-truth mask is not on the grid of the image.")
        masks = (truth.data[None] > 0).to(model.device)
    component = registry.create("evaluator", evaluator["name"], **evaluator["params"])
    where, before = f"The evaluator {evaluator['name']}", fingerprint(model.model)
    name = scan_name(prepared)
    doing, unit = f"scoring {name}", unit_seed(seed, "evaluation", name, evaluator["id"])
    with seeded(unit), at_work("evaluator", evaluator["name"], doing):
        rows = list(component.evaluate(model.model, volumes, attribution, masks))
    check_untouched(model.model, before, where)
    if len(rows) != 1:
        raise PluginError(f"{where} returned {len(rows)} rows for one volume.")
    try:
        return {key: None if value is None else float(value) for key, value in rows[0].items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise PluginError(f"{where} returned {rows[0]!r}, not scores by name (numbers, or None).") from error


def evaluation_rows(study: Study, folder: Path, evaluator: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the rows of an evaluator for every explained scan, in the order of folds, scans and explainers."""
    rows = []
    for index, fold in enumerate(study.folds):
        # Which of a person's maps a row is about; where everybody has one, the fold is in predictions.tsv.
        about = {"fold": index, "repeat": fold.repeat} if is_repeated(study.folds) else {}
        for scan in study.part(fold.test):
            for slot in study.config["explainers"]:
                unit = _evaluation_unit(study, study.names[scan], slot, index, evaluator)
                path = folder / ".xai" / f"{unit}.json"
                rows.append({**about, **json.loads(path.read_text(encoding="utf-8"))})
    return rows
