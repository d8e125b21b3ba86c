"""One scan and all folds of a run: their networks vote, and their relevance is aggregated on the scan's grid."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..progress import stepping
from .ensemblefiles import Combine, EnsembleExplanation, MemberMap, explained
from .ensemblevote import agreement_table, vote
from .explaining import Explanation
from .results import RunResults
from .seen import SEEN
from .single import Image, TrainedFold

__all__ = ["AllFolds"]


@dataclass(frozen=True)
class AllFolds:
    """The networks of all trained folds of a run, each with its own preprocessing. One is in memory at a time.

    Attributes:
        config: The resolved configuration of the run.
        folder: The run folder.
        combine: How they vote.
    """

    config: Mapping[str, Any]
    folder: Path
    combine: Combine

    @property
    def indices(self) -> list[int]:
        """The folds.

        Raises:
            InputError: Fewer than two are trained.
        """
        found = RunResults(self.folder).folds()
        if len(found) < 2:
            raise InputError(f"{self.folder} has {len(found)} trained folds: two or more can vote. Give --fold 0.")
        return found

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the outputs, None for a regression."""
        return RunResults(self.folder).classes

    def _folds(self) -> Iterator[TrainedFold]:
        indices = self.indices
        self.combine.check(len(indices))
        for index in stepping(indices, len(indices), "fold"):
            yield TrainedFold.load(self.config, self.folder, index, self.classes)

    def predict(self, image: Image, **options: Any) -> dict[str, Any]:
        """Return the folds' vote: ``prediction``, ``probability_<class>``, ``sd``, ``agreement`` and ``folds``.

        ``sd`` is between the folds, of the predicted value or the voted class's probability; ``agreement`` is the
        share of folds whose own prediction is the voted class.

        Args:
            image: As for ``TrainedFold.predict``.
            options: Further ones of it. A scan of somebody whom any of the networks was trained or validated on is
                refused, or the result is marked.
        """
        import pandas as pd

        rows = [{**fold.predict(image, **options), "fold": fold.loaded.index} for fold in self._folds()]
        seen = any(row.pop(SEEN, False) for row in rows)
        table = pd.DataFrame(rows).assign(scan_id="scan")
        voted = vote(table, self.classes, how=self.combine.how, weights=self.combine.weights)
        about = agreement_table(table, voted, self.classes, ["scan_id"]).iloc[0].to_dict()
        found = {str(name): value for name, value in voted.drop(columns="scan_id").iloc[0].to_dict().items()}
        found |= {name: about[name] for name in ("sd", "agreement") if name in about}
        found["folds"] = [row["fold"] for row in rows]
        return found | ({SEEN: True} if seen else {})

    def explain(
        self,
        image: Image,
        explainers: str | Sequence[str] | None = None,
        target: str | int | None = None,
        **options: Any,
    ) -> dict[str, EnsembleExplanation]:
        """Explain one scan with every fold, each on its own preprocessing, and aggregate on the scan's grid.

        Args:
            image: As for ``TrainedFold.explain``.
            explainers: Ids of the run's explainers, or one; default: all of them.
            target: The output that every fold explains; default: the class that they vote for.
            options: Further ones of ``TrainedFold.explain``.

        Returns:
            By explainer id.
        """
        chosen = target
        if chosen is None:
            chosen = 0 if self.classes is None else str(self.predict(image, **options)["prediction"])
        with tempfile.TemporaryDirectory() as name:
            members: dict[str, list[MemberMap]] = {}
            first: dict[str, Explanation] = {}
            for fold in self._folds():
                for explainer, found in fold.explain(image, explainers, chosen, **options).items():
                    path = Path(name) / f"{explainer}-{fold.loaded.index}.npy"
                    first.setdefault(explainer, found)
                    np.save(path, np.asarray(found.image.dataobj))
                    voxels = np.load(path, mmap_mode="r")
                    about = {"fold": fold.loaded.index}
                    members.setdefault(explainer, []).append(MemberMap(about, voxels, found.sidecar, again=False))
            return {key: self._aggregated(members[key], first[key]) for key in members}

    def _aggregated(self, members: Sequence[MemberMap], like: Explanation) -> EnsembleExplanation:
        first = members[0].sidecar
        names = ("scan_id", "subject_id", "session_id", "explainer_id", "explainer", "params", "target", "target_name")
        about = {**{name: first.get(name) for name in names}, "fold": "all"}
        if "channels" in first:
            about["channels"] = first["channels"]  # of a map with several, in their order
        if any(one.sidecar.get(SEEN) for one in members):
            about[SEEN] = True
        return replace(explained(members, self.combine, about, like.image), scan=like.scan)
