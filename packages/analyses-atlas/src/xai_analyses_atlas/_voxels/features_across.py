"""The files of ``voxel-features``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._contrasts.clusters import CLUSTER_COLUMNS, cluster_table
from .._figures import caption_text, glass_brain, save
from .._grids import first_in_world
from .._groups import chosen_explainers
from .._voxel_params import check_columns, check_map, covariate_columns
from .cases import LeftOut, cases_of, require_files
from .reading import Reader
from .relations import Relation, relate
from .writing import stem_of, write_json, write_table, write_volume

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .._atlases import Placed
    from ..voxel_features import VoxelFeatures

__all__ = ["write_voxel_features"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")

_CORRECTIONS = {
    "fdr": "false discovery rate (Benjamini and Hochberg)",
    "max-t": "family-wise, largest |t| of permutations (Freedman and Lane)",
    "tfce": "family-wise, threshold-free cluster enhancement in permutations",
}
SUMMARY = [
    "explainer", "related_to", "method", "covariates", "people", "maps", "df", "voxels", "tested", "peak_r",
    "peak_r_low", "peak_r_high", "peak_t", "peak_x", "peak_y", "peak_z", "least_p", "least_p_fdr", "least_p_max_t",
    "least_p_tfce", "significant_fdr", "significant_max_t", "significant_tfce", "arrangements", "exact",
]  # fmt: skip


def write_voxel_features(run: RunResults, output: Path, options: VoxelFeatures) -> None:
    """See ``VoxelFeatures.analyse``."""
    names = chosen_explainers(run, options.explainers)
    cases = {name: cases_of(run, name) for name in names}
    rows = [case.row for found in cases.values() for case in found]
    maps = [name for name in (options.feature_map, options.within_map) if name is not None]
    people = pd.DataFrame(rows)
    for parameter in ("feature_map", "within_map"):
        if getattr(options, parameter) is not None:
            check_map(people, getattr(options, parameter), parameter)
    for parameter in ("column", "blocks"):
        name = getattr(options, parameter)
        check_columns(people, [name] if name else [], parameter)
    check_columns(people, covariate_columns(options.covariates), "covariates")
    require_files(rows, maps)
    reader, left_out = Reader(options, options.feature_map), LeftOut()
    table, clusters = [], []
    for name in names:
        relation = relate(cases[name], reader, options, run.classes, left_out)
        row, found = _write(name, relation, reader, options, output)
        table.append(row)
        clusters.append(found)
    write_table(output / "voxel-features.tsv", pd.DataFrame(table, columns=SUMMARY))
    write_table(output / "clusters.tsv", _together(clusters))
    write_table(output / "left-out.tsv", left_out.table())
    if left_out.rows:
        log.warning("voxel-features: %d maps are left out: %s", len(left_out.rows), left_out.in_words())


def _together(clusters: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["explainer", "correction", *CLUSTER_COLUMNS]
    filled = [table for table in clusters if len(table)]
    return pd.concat(filled, ignore_index=True)[columns] if filled else pd.DataFrame(columns=columns)


def _write(
    explainer: str, relation: Relation, reader: Reader, options: VoxelFeatures, output: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    stem = stem_of(explainer, str(options.feature_map or options.column))
    found, mni = relation.found, options.space == "mni"
    maps = {"r": found.effect, "slope": found.difference, "t": found.t, "p": found.p, "tested": found.tested}
    maps |= {f"p-{name}": p for name, p in relation.p.items()}
    for name, values in maps.items():
        outside = 1.0 if name.startswith("p") else 0.0
        write_volume(output / f"{stem}_{name}.nii.gz", _volume(relation, values, outside), relation.grid, mni=mni)
    row = _row(explainer, relation, options)
    write_json(output / f"{stem}.json", _sidecar(row, relation, reader, options, sorted(maps)))
    clusters = _clusters(explainer, relation, reader, options)
    if mni:
        _draw(stem, explainer, relation, options, output)
    return row, clusters


def _volume(relation: Relation, values: Array, outside: float = 0.0) -> Array:
    volume = np.full(relation.mask.shape, outside, dtype=values.dtype)
    volume[relation.mask] = values
    return volume


def _row(explainer: str, relation: Relation, options: VoxelFeatures) -> dict[str, Any]:
    found = relation.found
    strength = np.abs(found.t)
    highest = np.flatnonzero(strength == strength.max())
    voxels = np.argwhere(relation.mask)[highest]
    first = first_in_world(voxels, relation.grid)
    peak = int(highest[first])
    place = [round(value, 3) + 0.0 for value in relation.grid.world(tuple(voxels[first].tolist()))]
    row: dict[str, Any] = {
        "explainer": explainer, "related_to": relation.tested, "method": options.method,
        "covariates": ", ".join(relation.covariates) or None, "people": relation.people, "maps": relation.cases,
        "df": relation.df, "voxels": len(found.t), "tested": int(found.tested.sum()),
        "peak_r": float(found.effect[peak]), "peak_r_low": float(found.low[peak]),
        "peak_r_high": float(found.high[peak]), "peak_t": float(found.t[peak]), "peak_x": place[0], "peak_y": place[1],
        "peak_z": place[2], "least_p": float(found.p.min()),
        "arrangements": relation.arrangements or None, "exact": relation.exact if relation.arrangements else None,
    }  # fmt: skip
    for name, p in relation.p.items():
        column = name.replace("-", "_")
        row |= {f"least_p_{column}": float(p.min()), f"significant_{column}": int((p <= options.alpha).sum())}
    return row


def _sidecar(
    row: dict[str, Any], relation: Relation, reader: Reader, options: VoxelFeatures, maps: list[str]
) -> dict[str, Any]:
    return {
        **row,
        "what": "relevance at each voxel related across people to the feature; p is 1 and all else 0 where "
        "nothing is tested",
        "files": maps,
        "voxels compared": reader.domain.in_words,
        "tested where": f"relevance and feature differ between people, at least {options.minimal_people} other than 0",
        "relevance": options.part,
        "normalise": options.normalise,
        "smoothing_mm": [options.smoothing, options.feature_smoothing],
        "prepare": options.prepare,
        "prepare_relevance": options.prepare_relevance,
        "labels": options.labels,
        "corrections": {name: _CORRECTIONS[name] for name in relation.p},
        "two_sided": True,
        "alpha": options.alpha,
        "blocks": options.blocks,
        "seed": options.seed,
    }


def _clusters(explainer: str, relation: Relation, reader: Reader, options: VoxelFeatures) -> pd.DataFrame:
    """Return clusters of significant voxels by their t, for each correction."""
    placed: Placed | None = None
    if reader.domain.atlas is not None and reader.domain.atlas.frame != "subject":
        placed = reader.domain.atlas.on(relation.grid)
    tables = []
    for name, p in relation.p.items():
        significant = np.where(p <= options.alpha, relation.found.t, 0.0)
        table = cluster_table(
            _volume(relation, significant), relation.grid, 0.0, minimal_size=options.minimal_size, atlas=placed
        )
        table.insert(0, "correction", name)
        table.insert(0, "explainer", explainer)
        tables.append(table)
    return _together(tables)


def _draw(stem: str, explainer: str, relation: Relation, options: VoxelFeatures, output: Path) -> None:
    """Draw t where it is significant by the strictest correction made; all of it where nothing is."""
    name = "tfce" if "tfce" in relation.p else "max-t" if "max-t" in relation.p else "fdr"
    significant = relation.p[name] <= options.alpha
    kept = significant if significant.any() else relation.found.tested
    volume = _volume(relation, np.where(kept, relation.found.t, 0.0))
    covariates = f", given {', '.join(relation.covariates)}" if relation.covariates else ""
    label = "rank correlation" if options.method == "spearman" else "linear model"
    heading = f"{explainer}: relevance related to {relation.tested}{covariates} (n = {relation.people})"
    if significant.any():
        shown = f"shown: p <= {options.alpha:g}, {_CORRECTIONS[name]}"
    else:
        shown = f"nothing is significant at {options.alpha:g} ({_CORRECTIONS[name]}): all t are shown"
    figure = glass_brain(volume, relation.grid, value_label=f"t ({relation.df} df)", heading=f"{heading}\n{shown}")
    caption = caption_text(
        f"{explainer}: t of the relation of relevance with {relation.tested} across people, voxel by voxel",
        n=relation.people,
        test=f"Two-sided {label}{covariates}; {shown}",
        notes=[f"{relation.arrangements} permutations"] if relation.arrangements else [],
    )
    save(figure, output, f"{stem}_t", caption)
