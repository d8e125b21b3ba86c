"""The files of ``region-figures``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_core import InputError

from .._atlases import load_atlas
from .._drawing import colour_limit
from .._figures import GROUP_COLOURS, bars, caption_text, glass_brain, save, surface, unique_stem
from .._groups import Groups, grouped, members
from .._mean import mean_map
from .._relevance import region_table
from .ranking import rank_table

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from ..region_figures import RegionFigures

__all__ = ["write_region_figures"]

log = logging.getLogger("xai")

_LABELS = {
    "size_corrected": "share of the relevance over share of the volume",
    "share": "share of the relevance of the whole map",
    "density": "absolute relevance for each mm³",
    "absolute": "absolute relevance",
    "positive": "positive relevance",
    "negative": "negative relevance",
    "sum": "sum of the relevance",
    "mean": "mean relevance of a voxel",
}
_QUANTILE = 0.9999  # of |mean relevance|, where colours end, as in group-maps
_FAINT = 0.05  # of these: what is fainter is not drawn
_COLOURS = "No test; colours end at the 99.99 % quantile, and what is below 5 % of that is not drawn"


def write_region_figures(run: RunResults, output: Path, options: RegionFigures) -> None:
    """See ``RegionFigures.analyse``."""
    groups = grouped(run, options.by, only_correct=False)
    _require_few(groups, options)
    atlas = load_atlas(options.atlas, folder=options.folder, unnamed=options.unnamed)
    table = region_table(
        run, atlas, options.explainers, space=options.space, assign=options.assign, channel=options.channel,
        missing=options.missing, mismatch=options.mismatch,
    )  # fmt: skip
    ranks = rank_table(
        table, options.measure, groups.scans, resamples=options.bootstrap, confidence=options.confidence,
        seed=options.seed,
    )  # fmt: skip
    whole = ranks.assign(**{name: ranks[name].astype("Int64") for name in ("people", "rank")})
    text = str(whole.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    (output / "ranks.tsv").write_text(text, encoding="utf-8", newline="")
    used: set[str] = set()
    people = table.groupby(["scan_id", "fold"])["subject_id"].first()
    sizes = {name: people.reindex(scans).nunique() for name, scans in groups.scans.items() if scans}
    for explainer, mine in ranks.groupby("explainer", sort=False):
        known = {name: int(count) for name, count in mine.groupby("group", sort=False)["people"].max().items()}
        counted = {name: known.get(name, 0) for name in sizes}  # a map that is zero everywhere has no shares
        _bars(
            output, unique_stem([str(explainer), "regions"], used), str(explainer), mine, counted, atlas.name, options
        )
    if options.brains and options.space == "mni":
        _brains(run, output, groups, sizes, list(dict.fromkeys(ranks["explainer"])), used, options)


def _require_few(groups: Groups, options: RegionFigures) -> None:
    named = [name for name, scans in groups.scans.items() if scans]
    if len(named) > len(GROUP_COLOURS):
        raise InputError(
            f"region-figures: by: {options.by} has {len(named)} groups ({', '.join(named[:8])} ...); bars of at most "
            f"{len(GROUP_COLOURS)} can be told apart. Choose another column, or by: null."
        )
    if groups.without:
        shown = ", ".join(groups.without[:5]) + (" ..." if len(groups.without) > 5 else "")
        log.warning("region-figures: %d scans have no %s and are left out: %s", len(groups.without), options.by, shown)


def _bars(
    output: Path, stem: str, explainer: str, mine: pd.DataFrame, sizes: dict[str, int], atlas: str,
    options: RegionFigures,
) -> None:  # fmt: skip
    size = mine.assign(size=mine["mean"].abs()).groupby("index")["size"].max()
    kept = list(size.dropna().nlargest(options.most).index)
    empty = sorted(mine.loc[mine["index"].isin(size.index[size.isna()]), "region"].unique())
    if empty:
        log.warning("region-figures: %d regions of %s have no value: %s", len(empty), atlas, ", ".join(empty))
    shown = mine[mine["index"].isin(kept)].sort_values("index", key=lambda column: column.map(kept.index))
    chosen = (
        f"The {len(kept)} of {len(size)} regions with the largest means" if len(kept) < len(size) else "All regions"
    )
    level = f"{options.confidence:.0%} bootstrap intervals of the mean ({options.bootstrap} resamples of people)"
    figure = bars(
        shown, value="mean", low="low", high="high", group=None if options.by is None else "group",
        value_label=_LABELS[options.measure], most=options.most,
        heading=f"{explainer}: relevance by region of {atlas}\n{chosen}, {_counts(sizes, options)}; "
        f"{options.confidence:.0%} intervals",
    )  # fmt: skip
    notes = [f"{len(empty)} regions have no value: {', '.join(empty)}"] if empty else []
    notes += _fewer(shown)
    if options.measure == "size_corrected":
        notes.append("1 is what relevance would be that is spread evenly over the volume of the atlas")
    what = (
        f"{_LABELS[options.measure].capitalize()} ({options.measure}) of {explainer} in regions of {atlas}, mean over "
    )
    what += f"people ({_counts(sizes, options)}). {chosen}"
    save(figure, output, stem, caption_text(what, n=sum(sizes.values()), test=f"{level}; no test", notes=notes))


def _fewer(shown: pd.DataFrame) -> list[str]:
    """Say that some regions rest on fewer people than others of their group do."""
    most = shown.groupby("group")["people"].transform("max")
    fewer = shown.loc[shown["people"] < most, "region"].nunique()
    return [f"{fewer} of these regions rest on fewer people (people in ranks.tsv)"] if fewer else []


def _counts(sizes: dict[str, int], options: RegionFigures) -> str:
    if options.by is None:
        return f"n = {sum(sizes.values())} people"
    return f"{options.by}: " + ", ".join(f"{name} n = {size}" for name, size in sizes.items())


def _brains(
    run: RunResults, output: Path, groups: Groups, sizes: dict[str, int], explainers: Sequence[str], used: set[str],
    options: RegionFigures,
) -> None:  # fmt: skip
    for explainer in explainers:
        records = {(record.scan_id, record.fold): record for record in run.maps(explainer)}
        grid, means = None, {}
        for name in sizes:
            mine = members(records, groups.scans[name], f"{explainer} of {run.folder}")
            means[name], grid = mean_map(mine, grid, resample=False, mni=True)
        limit = max(colour_limit(mean, _QUANTILE)[0] for mean in means.values())  # groups share their colours
        for name, mean in means.items():
            whose = "everybody" if options.by is None else f"{options.by} {name}"
            heading = f"{explainer}: mean relevance of {whose} (n = {sizes[name]} people)"
            given: dict[str, Any] = {"value_label": "mean relevance", "heading": heading, "limit": limit or None}
            given["threshold"] = _FAINT * limit  # the brain's own shape stays to be seen where there is little
            parts = [explainer] if options.by is None else [explainer, f"{options.by}-{name}"]
            for kind, draw, how in (
                ("glass", glass_brain, "the largest along each line of sight"),
                ("surface", surface, "mean through the cortex of fsaverage5"),
            ):
                what = f"Mean relevance of {explainer}, {whose}: {how}"
                caption = caption_text(what, n=sizes[name], test=_COLOURS)
                assert grid is not None
                save(draw(mean, grid, **given), output, unique_stem([*parts, kind], used), caption)
