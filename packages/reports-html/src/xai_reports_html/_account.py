"""Where the explained output went: into the voxels, or elsewhere, as the maps' sidecars tell."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from xai_core.engine.results import LOSS

from ._summary import NONE, number
from ._texts import plain

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["LOSS", "Account", "Part", "account_of", "figures", "layer_rows", "percent", "summaries"]

Law = Literal["conservation", "completeness", "ratio"]
_PARTS = {
    "voxels": "sum_of_relevance",
    "biases": "absorbed_by_biases",
    "epsilon": "absorbed_by_epsilon",
    "unexplained": "unexplained",
}
# Of a layer's row; whatever else it holds is relevance that stayed in the layer, by cause.
_LAYER = ("layer", "rule", "relevance_out", "relevance_in")


@dataclass(frozen=True)
class Part:
    """One part of what is divided.

    Attributes:
        name: voxels, biases, epsilon or unexplained.
        amount: In the unit of the output.
        share: Of the whole; below 0 and above 1 where parts cancel. None where the whole is 0.
    """

    name: str
    amount: float
    share: float | None


@dataclass(frozen=True)
class Account:
    """What one map says of its sum.

    Attributes:
        law: ``"conservation"``: relevance begins with ``whole``, and the explainer knows where it stayed.
            ``"completeness"``: relevance should sum to ``whole``, the output less that of the baseline.
            ``"ratio"``: only sum / output is known (runs of early versions).
        whole: What is divided.
        of: What that is, in words.
        parts: In the order voxels, biases, epsilon, unexplained; those that are known.
    """

    law: Law
    whole: float
    of: str
    parts: tuple[Part, ...]

    @property
    def unexplained(self) -> float | None:
        """Share that is in no known place; None where it is not known."""
        return next((part.share for part in self.parts if part.name == "unexplained"), None)

    @property
    def beside_voxels(self) -> float | None:
        """Magnitude of what is unexplained over that of the voxels; None where it is not known or they have nothing.

        Where a bias has most of the output, a small share of it may be much of the map.
        """
        amounts = {part.name: abs(part.amount) for part in self.parts}
        return amounts["unexplained"] / amounts["voxels"] if "unexplained" in amounts and amounts["voxels"] else None

    @property
    def lossy(self) -> bool:
        """Whether the run warns of this map: more than ``LOSS`` is unexplained."""
        return self.unexplained is not None and abs(self.unexplained) > LOSS


def account_of(sidecar: Mapping[str, Any]) -> Account | None:
    """Return what a sidecar says of the map's sum; None where its method makes no promise of it."""
    conservation, details = sidecar.get("conservation"), sidecar.get("details") or {}
    if isinstance(conservation, Mapping):
        return _conserved(conservation)
    delta, at_baseline = _value(details, "convergence_delta"), _value(details, "baseline_output")
    output, total = _value(sidecar, "output"), _value(sidecar, "sum_of_relevance")
    if output is None:
        return None
    if delta is not None and at_baseline is not None and total is not None:
        whole = output - at_baseline
        # The delta is what the sum has too much; unexplained is what it lacks, as for conservation.
        return Account(
            "completeness",
            whole,
            plain("sums.less_baseline"),
            _divided(whole, {"voxels": total, "unexplained": -delta}),
        )
    ratio = _value(details, "conservation")
    if ratio is None:
        return None
    return Account("ratio", output, plain("sums.the_output"), (Part("voxels", ratio * output, ratio),))


def _conserved(conservation: Mapping[str, Any]) -> Account | None:
    whole = _value(conservation, "start")
    amounts = {name: amount for name, key in _PARTS.items() if (amount := _value(conservation, key)) is not None}
    if whole is None or "voxels" not in amounts:
        return None
    of = plain("sums.the_output" if _value(conservation, "output") == whole else "sums.the_start")
    return Account("conservation", whole, of, _divided(whole, amounts))


def _divided(whole: float, amounts: Mapping[str, float]) -> tuple[Part, ...]:
    return tuple(Part(name, amount, amount / whole if whole else None) for name, amount in amounts.items())


def _value(of: Mapping[str, Any], key: str) -> float | None:
    found = of.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def percent(share: float | None) -> str:
    """Return a share in percent for reading; a dash where there is none."""
    if share is None:
        return NONE
    value = 100 * share
    # Two decimals where the limit of 1 % lies.
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 10000 else f"{value:.3g}"
    return f"{'0.00' if text == '-0.00' else text} %"


def figures(account: Account) -> dict[str, Any]:
    """Return what a card shows of an account: texts, and a bar whose parts below zero go to the left."""
    shares = {part.name: part.share for part in account.parts if part.share is not None}
    low, high = sum(min(s, 0) for s in shares.values()), sum(max(s, 0) for s in shares.values())
    low, high = min(low, 0.0), max(high, 1.0)
    left, right, segments = 0.0, 0.0, []
    for name, share in shares.items():
        left, right = left + min(share, 0), right + max(share, 0)
        start = left if share < 0 else right - share
        place = {"left": 100 * (start - low) / (high - low), "width": 100 * abs(share) / (high - low)}
        segments.append({"name": name, **place})
    return {
        "law": account.law,
        "whole": plain("sums.of", what=account.of, amount=number(account.whole)),
        "parts": [
            {
                "name": part.name,
                "text": number(part.amount) if part.share is None else percent(part.share),
                "label": plain(f"sums.{part.name}"),
                "title": plain(
                    "sums.title_of_part",
                    part=plain(f"sums.{part.name}"),
                    amount=f"{part.amount:.6g}",
                    whole=f"{account.whole:.6g}",
                ),
            }
            for part in account.parts
        ],
        "bar": segments if account.law != "ratio" else [],
        "zero": -100 * low / (high - low),
        "one": 100 * (1 - low) / (high - low),
        "lossy": account.lossy,
        "shares": bool(shares),
    }


def layer_rows(sidecar: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the table of relevance by layer, from the output to the voxels; None where there is none."""
    conservation = sidecar.get("conservation")
    layers = conservation.get("layers") if isinstance(conservation, Mapping) else None
    if not layers:
        return None
    causes = list(dict.fromkeys(key for row in layers for key in row if key not in _LAYER))
    whole = _value(conservation, "start") if isinstance(conservation, Mapping) else None
    return {"causes": causes, "rows": [_layer(row, causes, whole) for row in layers]}


def _layer(row: Mapping[str, Any], causes: Sequence[str], whole: float | None) -> dict[str, Any]:
    out, inside = _value(row, "relevance_out"), _value(row, "relevance_in")
    stayed = [_value(row, cause) for cause in causes]
    lost = None if out is None or inside is None else out - inside - sum(amount or 0 for amount in stayed)
    return {
        "layer": str(row.get("layer", NONE)),
        "rule": str(row.get("rule", NONE)),
        "out": number(out),
        "in": number(inside),
        "stayed": [number(amount) for amount in stayed],
        "lost": number(lost),
        "lossy": bool(whole and lost is not None and abs(lost / whole) > LOSS),
    }


def summaries(records: Iterable[MapRecord], order: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each explainer: the median share of each part over its maps, and the maps to be warned of.

    Args:
        records: All maps of the run.
        order: Explainers' ids as in the configuration.

    Returns:
        Empty where no map says anything of its sum.
    """
    accounts: dict[str, list[tuple[str, Account | None]]] = defaultdict(list)
    layers: dict[str, bool] = defaultdict(bool)
    records = list(records)
    counts = Counter((record.explainer, record.scan_id) for record in records)
    several = {key for key, count in counts.items() if count > 1}  # networks of several folds tested these scans
    for record in records:
        name = record.scan_id
        if (record.explainer, name) in several:
            name = plain("sums.scan_of_fold", scan=name, fold=record.fold)
        accounts[record.explainer].append((name, account_of(record.sidecar)))
        layers[record.explainer] |= layer_rows(record.sidecar) is not None
    if not any(account for found in accounts.values() for _, account in found):
        return []
    names = [*(name for name in order if name in accounts), *sorted(set(accounts) - set(order))]
    return [{"explainer": name, "layers": layers[name], **_summary(accounts[name])} for name in names]


def _summary(found: Sequence[tuple[str, Account | None]]) -> dict[str, Any]:
    known = [(scan, account) for scan, account in found if account is not None]
    shares: dict[str, list[float]] = {name: [] for name in _PARTS}
    for _, account in known:
        for part in account.parts:
            if part.share is not None:
                shares[part.name].append(part.share)
    loss = [account.unexplained for _, account in known if account.unexplained is not None]
    beside = [share for _, account in known if (share := account.beside_voxels) is not None]
    lossy = [(scan, account.unexplained or 0.0) for scan, account in known if account.lossy]
    lossy.sort(key=lambda one: -abs(one[1]))
    return {
        "law": known[0][1].law if known else None,
        "maps": len(found),
        "divided": len(shares["voxels"]),
        "medians": {name: percent(median(values) if values else None) for name, values in shares.items()},
        "most": percent(max(loss, key=abs)) if loss else NONE,
        "beside": percent(median(beside) if beside else None),
        "lossy": [(scan, percent(share)) for scan, share in lossy],
    }
