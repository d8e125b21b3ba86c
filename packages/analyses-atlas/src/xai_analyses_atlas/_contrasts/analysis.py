"""Contrasts of a run: resolved, tested, written."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid, mni_grid
from .._groups import Scan, chosen_explainers, members
from .._mean import relevance_on
from .._people import tested_people
from .._stack import Stack
from .checks import atlas_of
from .inference import Inference, estimate, family_wise
from .models import Estimates, Linear, Model, Welch
from .resolve import Resolved, require_columns, resolved
from .rows import Maps, brain_mask, mask_on, people_stack, read_maps
from .samples import Sample, sample_of
from .shuffles import Kind, Plan, plan
from .significance import Significance, significant

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

    from ..group_contrasts import GroupContrasts

__all__ = ["Outcome", "write_contrasts"]

log = logging.getLogger("xai")


@dataclass(frozen=True)
class Outcome:
    """What came out of one contrast of one explainer.

    Attributes:
        contrast: What was compared.
        explainer: Id, or ``first-minus-second`` where explainers are compared.
        sample: Who took part; None where the contrast could not be tested.
        reason: Why it could not.
        records: Maps of the people's scans, of both sides.
        model: The test.
        grid: Of the maps.
        mask: bool [D, H, W], the voxels that were looked at.
        found: [V] of the mask.
        plan: Shuffles, or None.
        tests: Permutation tests by method.
        significance: What counts.
        negative: Whether a person's map has a value below zero.
    """

    contrast: Resolved
    explainer: str
    sample: Sample | None = None
    reason: str | None = None
    records: tuple[tuple[MapRecord, ...], tuple[MapRecord, ...]] = ((), ())
    model: Model | None = None
    grid: Grid | None = None
    mask: npt.NDArray[np.bool_] | None = None
    found: Estimates | None = None
    plan: Plan | None = None
    tests: Mapping[str, Inference] | None = None
    significance: Significance | None = None
    negative: bool = False


def write_contrasts(run: RunResults, output: Path, options: GroupContrasts) -> None:
    """See ``GroupContrasts.analyse``."""
    from .output import Writer

    explainers = chosen_explainers(run, options.explainers)
    require_columns(options.covariates, tested_people(run), "covariates")
    contrasts = resolved(run, options.contrasts, explainers)
    each = [(contrast, sides) for contrast in contrasts for sides in _sides(contrast, explainers)]
    writer = Writer(output, options, atlas_of(options), len(each))
    with tempfile.TemporaryDirectory(prefix="xai-contrasts-") as scratch:
        source = _Source(run, options, Path(scratch))
        for contrast, (name, first, second) in each:
            writer.add(_outcome(contrast, name, source, (first, second), options))
    if not writer.tested:
        raise InputError(
            f"group-contrasts: no contrast of {run.folder} can be tested:\n  " + "\n  ".join(writer.reasons)
        )
    writer.finish()


def _sides(contrast: Resolved, explainers: list[str]) -> list[tuple[str, str, str]]:
    if contrast.explainers is None:
        return [(name, name, name) for name in explainers]
    return [("-".join((contrast.explainers[0], "minus", contrast.explainers[1])), *contrast.explainers)]


class _Source:
    """Reads the maps of an explainer once, when they are wanted first.

    Args:
        run: The run.
        options: Of the analysis.
        scratch: Where the maps lie meanwhile.
    """

    def __init__(self, run: RunResults, options: GroupContrasts, scratch: Path) -> None:
        self.scratch = scratch
        self._run = run
        self._options = options
        self._found: dict[str, Maps] = {}
        # Explainers and groups of one run are compared with each other, so all of them share one grid.
        self._grid = mni_grid(options.spacing) if options.resample else None
        self._mask: npt.NDArray[np.bool_] | None = None

    def maps(self, explainer: str) -> Maps:
        """Return the maps of all tested scans."""
        if explainer not in self._found:
            options, table = self._options, tested_people(self._run)
            keys: list[Scan] = list(zip(table["scan_id"].astype(str), table["fold"].astype(int), strict=True))
            there = {(record.scan_id, record.fold): record for record in self._run.maps(explainer)}
            found = members(there, keys, f"{explainer} of {self._run.folder}")
            mni = options.space == "mni"
            if self._grid is None:
                self._grid = relevance_on(found[0], None, resample=False, mni=mni)[1]
            if self._mask is None:
                self._mask = self._tested(self._grid)
            self._found[explainer] = read_maps(
                dict(zip(keys, found, strict=True)), self._mask, self._grid, self.scratch,
                normalise=options.normalise, resample=options.resample, mni=mni,
            )  # fmt: skip
        return self._found[explainer]

    def _tested(self, grid: Grid) -> npt.NDArray[np.bool_]:
        if self._options.mask is not None:
            return mask_on(Path(self._options.mask), grid)
        return brain_mask(grid) if self._options.within == "brain" else np.ones(grid.shape, dtype=bool)


def _outcome(
    contrast: Resolved, name: str, source: _Source, explainers: tuple[str, str], options: GroupContrasts
) -> Outcome:
    first, second = source.maps(explainers[0]), source.maps(explainers[1])
    try:
        sample = sample_of(contrast, {**first.unusable, **second.unusable}, options.covariates, visits=options.visits)
        model = _model(sample, options)
    except InputError as error:
        log.warning("group-contrasts: %s of %s is not tested: %s", contrast.id, name, error)
        return Outcome(contrast, name, reason=str(error))
    stack = people_stack(sample, first, second, source.scratch)
    try:
        return _tested(Outcome(contrast, name, sample, model=model), stack, first, second, options)
    finally:
        with suppress(OSError):  # the folder goes in the end; this only keeps the disk free meanwhile
            Path(str(getattr(stack.values, "filename", ""))).unlink()


def _model(sample: Sample, options: GroupContrasts) -> Model:
    covariates = sample.nuisance.shape[1] > (0 if sample.design in ("zero", "paired") else 1)
    unequal = options.variance == "unequal" or (options.variance == "auto" and not covariates)
    if sample.design == "groups" and unequal:
        return Welch(np.asarray(sample.tested > 0))
    return Linear(sample.tested, sample.nuisance, slope=sample.design == "slope", names=sample.names)


def _tested(outcome: Outcome, stack: Stack, first: Maps, second: Maps, options: GroupContrasts) -> Outcome:
    sample, model = outcome.sample, outcome.model
    if sample is None or model is None:
        raise ValueError("nothing to test")
    found = estimate(model, stack, two_sided=options.two_sided)
    drawn = None if options.inference == "none" else _plan(sample, options)
    tests: dict[str, Inference] = {}
    if drawn is not None:
        tests[options.inference] = family_wise(
            model, stack, found, drawn, "tfce" if options.inference == "tfce" else "max-t",
            connectivity=options.connectivity, two_sided=options.two_sided,
        )  # fmt: skip
    return replace(
        outcome,
        records=_records(sample, first, second),
        grid=stack.grid, mask=stack.mask, found=found, plan=drawn, tests=tests,
        negative=any(bool((y < 0).any()) for _, y in stack.chunks()),
        significance=significant(found, tests.get(options.inference), options.threshold, options.level,
                                 two_sided=options.two_sided),
    )  # fmt: skip


def _plan(sample: Sample, options: GroupContrasts) -> Plan:
    covariates = sample.nuisance.shape[1] > 1
    kinds: dict[str, Callable[[], Kind]] = {
        "groups": lambda: "orders" if covariates else "groups",
        "slope": lambda: "orders",
        "zero": lambda: "signs",
        "paired": lambda: "signs",
    }
    return plan(
        kinds[sample.design](), len(sample.people), options.permutations, options.seed, first=sample.first,
        two_sided=options.two_sided,
    )  # fmt: skip


def _records(sample: Sample, first: Maps, second: Maps) -> tuple[tuple[MapRecord, ...], tuple[MapRecord, ...]]:
    """Return the maps of the first side and of the second one."""
    if sample.design == "groups":
        parts = (sample.plus[: sample.first], sample.plus[sample.first :])
        return tuple(first.records[scan] for mine in parts[0] for scan in mine), tuple(
            first.records[scan] for mine in parts[1] for scan in mine
        )
    return tuple(first.records[scan] for mine in sample.plus for scan in mine), tuple(
        second.records[scan] for mine in sample.minus for scan in mine
    )


def explained(records: tuple[MapRecord, ...]) -> dict[str, int]:
    """Return how many maps explain which output."""
    counts: dict[str, int] = {}
    for record in records:
        name: Any = record.sidecar.get("target_name", "unknown")
        counts[str(name)] = counts.get(str(name), 0) + 1
    return dict(sorted(counts.items()))
