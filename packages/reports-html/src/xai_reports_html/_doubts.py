"""What is known against trusting a decision or its map, and which of these checks were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ._account import LOSS, account_of, percent
from ._agreement import TOP
from ._decisions import Decision
from ._pictures import Drawn
from ._summary import number
from ._texts import listed, plain

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["Doubts"]


class Doubts:
    """Remarks on the scans of a run.

    Args:
        quality: Rows of ``quality.tsv`` by scan; None: the run has no quality control.
        votes: Rows of an ensemble's ``agreement.tsv`` by scan and fold; None: this is no ensemble.
        unsure: Limit below which a decision is called unsure.
    """

    def __init__(
        self,
        quality: Mapping[str, Sequence[Mapping[Any, Any]]] | None,
        votes: Mapping[tuple[str, int], Mapping[Any, Any]] | None,
        unsure: float,
    ) -> None:
        self._quality, self._votes, self._unsure = quality, votes, unsure

    def known(self, one: Decision, records: Sequence[MapRecord]) -> list[str]:
        """Return what tables and sidecars say, without looking at a picture."""
        return [
            *self._decision(one),
            *self._vote(one),
            *self._image(one),
            *(line for record in records for line in _of_map(one, record)),
        ]

    def _decision(self, one: Decision) -> list[str]:
        found = []
        if one.seen:
            found.append(plain("doubt.seen"))
        if one.unsure and one.certainty is not None:
            kind = "calibrated" if one.calibrated else "probability"
            found.append(plain(f"doubt.unsure_{kind}", p=number(one.certainty), limit=f"{self._unsure:g}"))
        return found

    def _vote(self, one: Decision) -> list[str]:
        row = (self._votes or {}).get(one.key)
        if row is None:
            return []
        share, sd = row.get("agreement"), row.get("sd")
        if isinstance(share, float) and share < 1:
            members = int(row.get("members", 0))
            return [plain("doubt.members", agree=round(share * members), members=members, sd=number(sd))]
        return []

    def _image(self, one: Decision) -> list[str]:
        found = []
        for row in (self._quality or {}).get(one.scan, []):
            for key in ("problem", "flags"):
                value = row.get(key)
                if isinstance(value, str) and value:
                    found.append(plain(f"doubt.{key}", value=value))
        return list(dict.fromkeys(found))

    @staticmethod
    def drawn(drawn: Drawn) -> list[str]:
        """Return what the maps themselves show."""
        found = [plain("doubt.empty", explainer=card["explainer"]) for card in drawn.maps if card["empty"]]
        for what, n in drawn.replaced.items():
            found.append(plain("doubt.scan_replaced", n=n) if what == "scan" else
                         plain("doubt.map_replaced", explainer=what, n=n))  # fmt: skip
        for pair in drawn.pairs:
            if pair.by_chance:
                found.append(plain("doubt.disagree", first=pair.first, second=pair.second, dice=number(pair.dice, 2),
                                   top=f"{100 * TOP:g}"))  # fmt: skip
        return found

    def made(self, one: Decision, records: Sequence[MapRecord], pictures: bool) -> str:
        """Say which checks were made, because the absence of a remark means nothing where nobody looked."""
        sums = [
            record.explainer for record in records if (a := account_of(record.sidecar)) and a.unexplained is not None
        ]
        parts = [plain("check.certainty")] if one.certainty is not None else []
        parts += [plain("check.sums", explainers=listed(sums))] if sums else []
        parts += [plain("check.agreement")] if pictures and len(records) > 1 else []
        parts += [plain("check.quality")] if self._quality is not None else []
        parts += [plain("check.members")] if self._votes is not None else []
        parts.append(plain("check.seen"))
        return plain("check.made", checks=listed(parts)) + (
            "" if self._quality is not None else " " + plain("check.no_quality")
        )


def _of_map(one: Decision, record: MapRecord) -> list[str]:
    account, found, sidecar = account_of(record.sidecar), [], record.sidecar
    if account is not None and account.lossy:
        found.append(plain("doubt.lossy", explainer=record.explainer, share=percent(account.unexplained),
                           limit=f"{100 * LOSS:g}"))  # fmt: skip
    target = sidecar.get("target_name")
    if one.correct is not None and isinstance(target, str) and target not in ("", str(one.predicted)):
        found.append(plain("doubt.other_target", explainer=record.explainer, target=target, predicted=one.predicted))
    if sidecar.get("seen_in_training") and not one.seen:
        found.append(plain("doubt.map_seen", explainer=record.explainer))
    ensemble = sidecar.get("ensemble")
    if isinstance(ensemble, Mapping) and _low(ensemble.get("mean_sign_agreement")):
        found.append(plain("doubt.sign", explainer=record.explainer, share=percent(ensemble["mean_sign_agreement"])))
    return found


def _low(value: object) -> bool:
    """Of the members' signs; two members that draw lots agree in three quarters of voxels (one or both)."""
    return isinstance(value, float) and not pd.isna(value) and value < 0.75
