"""A run folder as reports, analyses and notebooks read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from ..types import Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENSEMBLE", "LOSS", "MapRecord", "RunResults"]

ENSEMBLE = "ensemble.json"
"""Lies in the folder of an ensemble of finished runs, and names them."""

LOSS = 0.01
"""Share of the relevance that may be missing from a map; a run's log and its report tell of maps that lack more."""

_TEXT_COLUMNS = {
    "scan_id": str,
    "subject_id": str,
    "session_id": str,
    "site": str,
    "image": str,
    "ground_truth": str,
    "explainer": str,
    "group": str,
    "class": str,
}


@dataclass(frozen=True)
class MapRecord:
    """One relevance map on disk.

    Attributes:
        scan_id: ``sub-01`` or ``sub-01_ses-02``.
        subject_id: The person.
        explainer: ``id`` of the explainer.
        path: The NIfTI file, on the grid of ``image``.
        image: The scan that it explains, or None where the scan was not read from one file.
        ground_truth: The mask of the truth where the dataset knows it, as NIfTI on the scan's grid.
        sidecar: Content of the JSON file beside the map: ``explainer``, ``params``, ``fold``, ``target``,
            ``target_name``, ``output``, ``sum_of_relevance``, versions.
    """

    scan_id: str
    subject_id: str
    explainer: str
    path: Path
    image: Path | None
    ground_truth: Path | None
    sidecar: Mapping[str, Any]

    @property
    def fold(self) -> int:
        """Index of the fold whose network is explained; a person has several in a repeated cross-validation."""
        return int(self.sidecar["fold"])


class RunResults:
    """Reads a run folder. Nothing is cached; nothing is written.

    Args:
        folder: The run folder.

    Raises:
        InputError: It is not a run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "pipeline.resolved.yaml").is_file():
            what = "is not a folder" if not self.folder.is_dir() else "holds no pipeline.resolved.yaml"
            raise InputError(f"{self.folder} is not a run folder: it {what}. Give the folder that 'xai run' printed.")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        from ..config.strictyaml import load_file

        return cast(dict[str, Any], load_file(self.folder / "pipeline.resolved.yaml").value)

    @property
    def info(self) -> dict[str, Any]:
        """``run.json``: task, classes, versions, device, seeds, hashes."""
        return self._json("run.json")

    @property
    def task(self) -> Task:
        """``"classification"`` or ``"regression"``."""
        return cast(Task, self.info["task"])

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the logits; the last is the positive class of a binary study."""
        classes = self.info["classes"]
        return None if classes is None else tuple(classes)

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Names of the channels of the images, the last axis of a map; None: there is one, or they have no names."""
        channels = self.info.get("channels")
        return None if channels is None else tuple(channels)

    def subjects(self) -> pd.DataFrame:
        """One row for each scan: scan_id, subject_id, session_id, site, target, image, ground_truth, covariates.

        ``image`` is the first channel's file; where there are several, ``image_<name>`` are all of them. ``mask`` and
        ``map_<name>`` are the files of masks and further maps that the dataset carries along.
        """
        return self._table("subjects.tsv")

    def splits(self) -> pd.DataFrame:
        """Columns fold, repeat (from 0), part (train, val, test, held_out), subject_id."""
        return self._table("splits.tsv")

    def left_out(self) -> pd.DataFrame:
        """Columns subject_id, session_id, reason and others of who was in the study's sources, but not in the run."""
        import pandas as pd

        if not (self.folder / "left-out.tsv").is_file():
            return pd.DataFrame(columns=["subject_id", "session_id", "reason"])
        return self._table("left-out.tsv")

    def predictions(self) -> pd.DataFrame:
        """One row for each test scan: fold, scan_id, subject_id, target, prediction, probability_<class>.

        In a repeated or nested cross-validation a scan has a row in each ``repeat`` (a column then): its rows are not
        independent, so scores and tests take one repeat at a time.
        """
        return self._table("predictions.tsv")

    def metrics(self) -> dict[str, Any]:
        """``metrics.json``: ``{"test": {...}, "folds": [{...}]}`` as the trainer's ``metrics`` returned them.

        With several repeats there is ``"repeats": [{...}]``, too, and ``test`` is their mean.
        """
        return self._json("metrics.json")

    def score_table(self, name: str) -> pd.DataFrame:
        """A table that the trainer wrote beside the scores, such as ``roc``, ``calibration`` and ``by-group``.

        Raises:
            InputError: The run has none of this name.
        """
        return self._table(f"{name}.tsv")

    def has_held_out(self) -> bool:
        """Whether a held-out cohort was predicted."""
        return (self.folder / "held-out" / "metrics.json").is_file()

    def held_out_predictions(self) -> pd.DataFrame:
        """One row for each scan of the held-out cohort and each fold's network; columns as in ``predictions``.

        Raises:
            InputError: The run has no held-out cohort, or has not predicted it yet.
        """
        return self._table("held-out/predictions.tsv")

    def held_out_metrics(self) -> dict[str, Any]:
        """``{"ensemble": {...}, "folds": [{...}]}``: scores of the folds' mean prediction, and of each fold's network.

        Raises:
            InputError: The run has no held-out cohort, or has not predicted it yet.
        """
        return self._json("held-out/metrics.json")

    def folds(self) -> list[int]:
        """Indices of the folds whose training is done."""
        found = [p.parent for p in self.folder.glob("fold-*/checkpoint.pt")]
        return sorted(int(folder.name.removeprefix("fold-")) for folder in found)

    def history(self, fold: int) -> pd.DataFrame:
        """One row of scalars for each epoch of a fold."""
        import pandas as pd

        return pd.read_csv(self._existing(f"fold-{fold}/history.csv"))

    def evaluation(self, evaluator: str) -> pd.DataFrame:
        """One row for each map that an evaluator scored: scan_id, explainer and the scores."""
        return self._table(f"evaluation/{evaluator}.tsv")

    def maps(self, explainer: str | None = None) -> list[MapRecord]:
        """Relevance maps by scan and explainer; only those of ``explainer`` where it is given.

        In a repeated cross-validation a scan has one of each ``fold`` that tests it. A map that an earlier state of
        the study left behind (whose person left, or trains now) is not among them.
        """
        rows = self.subjects().set_index("scan_id", drop=False)
        splits = self.splits()
        tested = splits[splits["part"] == "test"]
        explained = set(zip(tested["fold"], tested["subject_id"], strict=True))
        found = []
        for sidecar_path in sorted((self.folder / "derivatives").glob("sub-*/**/*_relevance.json")):
            sidecar = json.loads(sidecar_path.read_text(encoding="utf-8"))
            wanted = explainer is None or sidecar["explainer_id"] == explainer
            current = sidecar["scan_id"] in rows.index and (sidecar["fold"], sidecar["subject_id"]) in explained
            if not (wanted and current):
                continue
            row = rows.loc[sidecar["scan_id"]]
            found.append(
                MapRecord(
                    scan_id=sidecar["scan_id"],
                    subject_id=sidecar["subject_id"],
                    explainer=sidecar["explainer_id"],
                    path=sidecar_path.with_suffix("").with_suffix(".nii.gz"),
                    image=_path(row.get("image")),
                    ground_truth=_path(row.get("ground_truth")),
                    sidecar=sidecar,
                )
            )
        return found

    def _json(self, name: str) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self._existing(name).read_text(encoding="utf-8")))

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        path, text = self._existing(name), dict(_TEXT_COLUMNS)
        if (self.folder / "run.json").is_file() and self.classes is not None:
            # Classes may be called 0 and 1, or True and False.
            text |= {"target": str, "prediction": str}
        return pd.read_csv(path, sep="\t", dtype=text, na_values=["n/a"], keep_default_na=False)

    def _existing(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise InputError(
                f"{self.folder} has no {name} yet. Run 'xai run' on its pipeline.resolved.yaml to make it."
            )
        return path


def _path(value: object) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None
