"""What a run says of its maps in the end: those that lack relevance."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np

from .explaining import unexplained_share
from .progress import log
from .results import LOSS, MapRecord, RunResults

__all__ = ["warn_of_maps"]


def warn_of_maps(results: RunResults, explainers: Sequence[str]) -> None:
    """Warn of explainers whose maps miss more than 1 % of their relevance, or have none.

    Args:
        results: The run.
        explainers: Their ids.
    """
    for explainer in explainers:
        maps = results.maps(explainer)  # several of a scan where it is tested in several folds
        _of_losses(explainer, maps)
        _of_empty(explainer, maps)


def _of_losses(explainer: str, maps: Sequence[MapRecord]) -> None:
    shares = [(record.scan_id, abs(unexplained_share(record.sidecar) or 0.0)) for record in maps]
    lossy = [(scan, share) for scan, share in shares if share > LOSS]
    if lossy:
        worst, most = max(lossy, key=lambda one: one[1])
        log.warning(
            "%s: in %d of %d maps more than 1 %% of the relevance is missing (most: %s, %.1f %%). See "
            "conservation or details in their sidecars; lrp's layer_sums say where, path methods want more steps.",
            explainer, len(lossy), len(shares), worst, 100 * most,
        )  # fmt: skip


def _of_empty(explainer: str, maps: Sequence[MapRecord]) -> None:
    empty = [record.scan_id for record in maps if _is_empty(record)]
    if empty:
        log.warning(
            "%s: %d of %d maps are zero everywhere (%s%s): this method finds nothing that speaks for the output that "
            "they explain. They do not tell where the network looked.",
            explainer, len(empty), len(maps), ", ".join(empty[:3]), ", ..." if len(empty) > 3 else "",
        )  # fmt: skip


def _is_empty(record: MapRecord) -> bool:
    if record.sidecar.get("sum_of_relevance") != 0:
        return False
    return not np.any(np.asarray(nib.load(record.path).dataobj))  # type: ignore[attr-defined]
