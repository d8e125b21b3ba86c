"""Files of contrasts: maps with sidecars, figures, tables."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from .._grids import Grid, first_in_world
from .analysis import Outcome, explained
from .clusters import CLUSTER_COLUMNS, cluster_table
from .pictures import Pictures
from .words import cautions, family_text, meaning_of_values, test_text, threshold_text, voxel_counts

if TYPE_CHECKING:
    from .._atlases import Atlas, Placed
    from ..group_contrasts import GroupContrasts

__all__ = ["Writer"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")

_COLUMNS = [
    "explainer", "contrast", "what", "among", "n", "n_first", "n_second", "scans", "maps", "explained_first",
    "explained_second", "normalise", "test", "df", "covariates", "voxels", "constant_voxels", "separated_voxels",
    "peak_t", "peak_x", "peak_y", "peak_z", "difference_at_peak", "effect", "effect_at_peak", "effect_low",
    "effect_high", "p_fwe_at_peak", "least_p_fwe", "least_p_fwe_all", "permutations", "exhaustive",
    "least_possible_p", "threshold", "corrected_over", "least_t", "above_positive", "above_negative", "clusters",
    "left_out", "not_tested", "cautions", "files",
]  # fmt: skip

_WHOLE = [
    "n", "n_first", "n_second", "scans", "maps", "voxels", "constant_voxels", "separated_voxels", "permutations",
    "above_positive", "above_negative", "clusters", "left_out",
]  # fmt: skip

_OPTIONS = [
    "normalise", "visits", "two_sided", "inference", "connectivity", "minimal_size", "within", "mask", "space",
    "resample", "seed",
]  # fmt: skip


class Writer:
    """Writes one outcome after the other.

    Args:
        output: An empty folder.
        options: Of the analysis.
        atlas: Names regions, or None.
        contrasts: How many outcomes there will be.
    """

    def __init__(self, output: Path, options: GroupContrasts, atlas: Atlas | None, contrasts: int) -> None:
        self.tested = 0
        self.reasons: list[str] = []
        self._output = output
        self._options = options
        self._atlas = atlas
        self._contrasts = contrasts
        self._placed: Placed | None = None
        self._pictures = Pictures(output, options)
        self._rows: list[dict[str, Any]] = []
        self._clusters: list[pd.DataFrame] = []
        self._left_out: list[dict[str, str]] = []
        self._used: set[str] = set()

    def add(self, outcome: Outcome) -> None:
        """Write the files of one outcome and keep its rows."""
        contrast = outcome.contrast
        row: dict[str, Any] = {
            "explainer": outcome.explainer, "contrast": contrast.id, "what": contrast.title,
            "among": "; ".join(f"{name}: {', '.join(values)}" for name, values in contrast.spec.among.items()) or None,
            "normalise": self._options.normalise,
        }  # fmt: skip
        self._note_left_out(outcome)
        if outcome.sample is None or outcome.grid is None:
            self.reasons.append(f"{contrast.id} of {outcome.explainer}: {outcome.reason}")
            self._rows.append(row | {"not_tested": outcome.reason})
            return
        self.tested += 1
        stem = self._stem(outcome)
        row |= self._facts(outcome, stem)
        table = self._table(outcome)
        row["clusters"] = len(table)
        table.insert(0, "explainer", outcome.explainer)
        table.insert(1, "contrast", contrast.id)
        self._clusters.append(table)
        for name, (volume, what) in self._maps(outcome).items():
            self._save(f"{stem}_{name}", volume, outcome.grid, {**row, "map": what})
        self._pictures.draw(outcome, stem, row)
        self._rows.append(row)
        if row["cautions"]:
            log.warning("group-contrasts: %s of %s: %s", contrast.id, outcome.explainer, row["cautions"])

    def finish(self) -> None:
        """Write the tables."""
        clusters = pd.concat(self._clusters) if self._clusters else None
        columns = ["explainer", "contrast", *CLUSTER_COLUMNS]
        rows = pd.DataFrame(self._rows, columns=_COLUMNS)
        self._write("contrasts", rows.assign(**{name: rows[name].astype("Int64") for name in _WHOLE}))
        self._write("clusters", pd.DataFrame(columns=columns) if clusters is None else clusters[columns])
        self._write(
            "left-out",
            pd.DataFrame(self._left_out, columns=["explainer", "contrast", "subject_id", "scan_id", "reason"]),
        )

    def _write(self, name: str, table: pd.DataFrame) -> None:
        text = str(table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
        (self._output / f"{name}.tsv").write_text(text, encoding="utf-8", newline="")

    def _note_left_out(self, outcome: Outcome) -> None:
        head = {"explainer": outcome.explainer, "contrast": outcome.contrast.id}
        reason = f"has no {outcome.contrast.by}"
        self._left_out += [{**head, "scan_id": scan, "reason": reason} for scan in outcome.contrast.without]
        if outcome.sample is not None:
            self._left_out += [{**head, "subject_id": who, "reason": why} for who, why in outcome.sample.left_out]

    def _stem(self, outcome: Outcome) -> str:
        name = outcome.explainer if outcome.contrast.explainers is None else ""
        parts = [part for part in (name, outcome.contrast.id) if part]
        stem = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts)
        unique, number = stem, 2
        while unique.casefold() in self._used:
            unique, number = f"{stem}-{number}", number + 1
        self._used.add(unique.casefold())
        return unique

    def _facts(self, outcome: Outcome, stem: str) -> dict[str, Any]:
        sample, model, options = outcome.sample, outcome.model, self._options
        if sample is None or model is None:
            raise ValueError("the contrast is not tested")
        sides = (explained(outcome.records[0]), explained(outcome.records[1]))
        two = sample.design == "groups"
        drawn = outcome.plan
        notes = cautions(outcome, options, sides)
        left_out = {who for who, _ in sample.left_out} - set(sample.people)
        return {
            "n": len(sample.people),
            "n_first": sample.first if two else None,
            "n_second": len(sample.people) - sample.first if two else None,
            "scans": len({record.scan_id for side in outcome.records for record in side}),
            "maps": sum(map(len, outcome.records)),
            "explained_first": _counts(sides[0]), "explained_second": _counts(sides[1]) or None,
            "test": test_text(outcome, options), "df": model.df,
            "covariates": ", ".join(name for name in sample.names if name != "intercept") or None,
            **voxel_counts(outcome), **self._peak(outcome),
            "permutations": None if drawn is None else len(drawn) - 1,
            "exhaustive": None if drawn is None else drawn.exhaustive,
            "least_possible_p": None if drawn is None else drawn.least_p,
            "threshold": threshold_text(options),
            "corrected_over": family_text(outcome, self._contrasts),
            "least_t": None if outcome.significance is None else outcome.significance.least_t,
            "left_out": len(left_out) + len(outcome.contrast.without),
            "cautions": ". ".join(notes) or None,
            "files": stem,
        }  # fmt: skip

    def _peak(self, outcome: Outcome) -> dict[str, Any]:
        """Return what is found at the voxel of the largest statistic; nothing where no voxel is tested."""
        found, mask, grid = outcome.found, outcome.mask, outcome.grid
        if found is None or mask is None or grid is None or not found.t.any():
            return {}
        strength = np.abs(found.t) if self._options.two_sided else np.where(found.tested, found.t, -np.inf)
        highest, axes = np.flatnonzero(strength == strength.max()), np.nonzero(mask)
        voxels = np.column_stack([axis[highest] for axis in axes])
        first = first_in_world(voxels, grid)
        place = int(highest[first])
        x, y, z = (round(value, 3) + 0.0 for value in grid.world(tuple(voxels[first].tolist())))
        test = next(iter((outcome.tests or {}).values()), None)
        return {
            "peak_t": float(found.t[place]), "peak_x": x, "peak_y": y, "peak_z": z,
            "difference_at_peak": float(found.difference[place]),
            "effect": "partial correlation" if outcome.contrast.design == "slope" else "Hedges g",
            "effect_at_peak": float(found.effect[place]), "effect_low": float(found.low[place]),
            "effect_high": float(found.high[place]),
            "p_fwe_at_peak": None if test is None else float(test.p[place]),
            "least_p_fwe": None if test is None else float(test.p.min()),
            "least_p_fwe_all": None if test is None else min(1.0, float(test.p.min()) * self._contrasts),  # Bonferroni
        }  # fmt: skip

    def _table(self, outcome: Outcome) -> pd.DataFrame:
        grid, volume = outcome.grid, self._thresholded(outcome)
        if grid is None:
            raise ValueError("the contrast is not tested")
        if self._atlas is not None and self._placed is None:
            self._placed = self._atlas.on(grid)
        return cluster_table(
            volume, grid, 0.0, minimal_size=self._options.minimal_size, connectivity=self._options.connectivity,
            atlas=self._placed, two_sided=self._options.two_sided,
        )  # fmt: skip

    def _thresholded(self, outcome: Outcome) -> Array:
        found, significance = outcome.found, outcome.significance
        if found is None or significance is None:
            raise ValueError("the contrast is not tested")
        return _volume(np.where(significance.counts, found.t, 0.0), outcome)

    def _maps(self, outcome: Outcome) -> dict[str, tuple[Array, str]]:
        """Return the maps to write by the end of their names, and what each holds."""
        found, significance = outcome.found, outcome.significance
        if found is None or significance is None:
            raise ValueError("the contrast is not tested")
        slope = outcome.contrast.design == "slope"
        effect, name = ("r", "partial correlation") if slope else ("g", "Hedges' g")
        maps: dict[str, tuple[Array, str]] = {
            "difference": (found.difference, f"{outcome.contrast.title}; {meaning_of_values(self._options)}"),
            "t": (found.t, "t"),
            effect: (found.effect, name),
            f"{effect}-low": (found.low, f"lower end of the 95 % interval of {name}"),
            f"{effect}-high": (found.high, f"upper end of the 95 % interval of {name}"),
            "logp": (_log(found.p), "-log10 p, not corrected"),
            "logp-fdr": (_log(significance.p_fdr), "-log10 p, corrected for the false discovery rate"),
        }
        for method, test in (outcome.tests or {}).items():
            if method == "tfce":
                maps["tfce"] = (test.statistic, "TFCE value of t")
            maps["logp-fwe"] = (_log(test.p), f"-log10 p, corrected for family-wise error ({method})")
        maps["thresholded"] = (np.where(significance.counts, found.t, 0.0), f"t where {threshold_text(self._options)}")
        return {key: (_volume(values, outcome), what) for key, (values, what) in maps.items()}

    def _save(self, stem: str, volume: Array, grid: Grid, facts: Mapping[str, Any]) -> None:
        image = nib.Nifti1Image(volume.astype(np.float32), grid.affine)
        code = "mni" if self._options.space == "mni" else "aligned"
        image.set_sform(grid.affine, code)
        image.set_qform(grid.affine, code)
        image.header.set_xyzt_units("mm")
        nib.save(image, self._output / f"{stem}.nii.gz")
        options = {name: getattr(self._options, name) for name in _OPTIONS}
        text = json.dumps({**facts, **options}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (self._output / f"{stem}.json").write_text(text, encoding="utf-8")


def _counts(explained_outputs: Mapping[str, int]) -> str:
    return "; ".join(f"{name} {number}" for name, number in explained_outputs.items())


def _log(p: Array) -> Array:
    # p of a t of 40 with many degrees of freedom underflows to 0.
    return np.abs(np.log10(np.maximum(p, 1e-300)))


def _volume(values: Array, outcome: Outcome) -> Array:
    if outcome.mask is None:
        raise ValueError("the contrast is not tested")
    volume = np.zeros(outcome.mask.shape)
    volume[outcome.mask] = values
    return volume
