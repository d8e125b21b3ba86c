"""Where a person's prediction lies among those of the other test people: a strip of ticks for each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from ._decisions import Decision, all_calibrated, decimals
from ._summary import number
from ._texts import plain, say

__all__ = ["Strips"]

Array = np.ndarray[Any, Any]
_WIDTH, _LEFT, _ROW, _BINS = 600, 96, 30, 120
_LONGEST = 14  # characters of a group's name beside its strip


class Strips:
    """Strips of a run's predictions.

    For two classes the value is the probability of the second one, for more the probability of the class that was
    predicted for the person; for a regression it is predicted less true value. Probabilities are calibrated where the
    run has calibrated ones of all folds.

    Args:
        tested: All test scans.
        classes: Of the run; None: a regression.
    """

    def __init__(self, tested: Sequence[Decision], classes: Sequence[str] | None) -> None:
        self._tested, self._classes = list(tested), classes
        self._digits = decimals(tested)
        self._calibrated = all_calibrated(tested)
        self._rows: dict[tuple[str | None, int], dict[str, Array]] = {}
        self._of_subject: dict[tuple[str, int], list[Decision]] = {}
        for one in self._tested:
            self._of_subject.setdefault((one.subject, one.repeat), []).append(one)

    def of(self, one: Decision) -> dict[str, Any] | None:
        """Return ``svg``, ``caption`` and ``lines`` (one for each group); None where no value is known."""
        name = self._class(one)
        value = self._value(one, name)
        if value is None:
            return None
        own = self._group(one)
        # Folds of other repeats test the same people again.
        groups = dict(self._groups(name, one.repeat))
        for visit in self._of_subject[one.subject, one.repeat]:  # other visits of a person are no other people
            theirs = self._value(visit, name)
            if theirs is not None:
                groups[self._group(visit)] = _without(groups[self._group(visit)], theirs)
        what = self._what(name)
        lines = [_line(group, values, value) for group, values in groups.items()]
        low, high = self._ends(groups, value)
        title = plain("strip.title", what=what, value=self._figure(value, name), lines=" ".join(lines))
        return {
            "svg": _svg(groups, value, (low, high), own, title),
            "caption": say("strip.caption", what=what[:1].upper() + what[1:]),
            "lines": lines,
            "value": self._figure(value, name),
        }

    def _group(self, one: Decision) -> str:
        return str(one.true) if self._classes is not None else ""

    def _class(self, one: Decision) -> str | None:
        if self._classes is None:
            return None
        return self._classes[-1] if len(self._classes) == 2 else str(one.predicted)

    def _value(self, one: Decision, name: str | None) -> float | None:
        if name is None:
            return one.error
        return (one.calibrated if self._calibrated else one.probabilities).get(name)

    def _groups(self, name: str | None, repeat: int) -> dict[str, Array]:
        key = (name, repeat)
        if key not in self._rows:
            found: dict[str, list[float]] = {str(group): [] for group in self._classes or ("",)}
            for one in self._tested:
                value = self._value(one, name)
                if value is not None and one.repeat == repeat:
                    found.setdefault(self._group(one), []).append(value)
            self._rows[key] = {group: np.sort(np.asarray(values)) for group, values in found.items()}
        return self._rows[key]

    def _what(self, name: str | None) -> str:
        if name is None:
            return plain("strip.gap")
        return plain("strip.calibrated" if self._calibrated else "strip.probability", name=name)

    def _figure(self, value: float, name: str | None) -> str:
        return f"{value:+.{self._digits}f}" if name is None else number(value)

    def _ends(self, groups: dict[str, Array], value: float) -> tuple[float, float]:
        if self._classes is not None:
            return 0.0, 1.0
        every = np.concatenate([*groups.values(), [value, 0.0]])
        margin = 0.04 * float(np.ptp(every)) or 1.0
        return float(every.min()) - margin, float(every.max()) + margin


def _without(values: Array, value: float) -> Array:
    """The others of a group: the person is one of those with this value."""
    position = int(np.searchsorted(values, value))
    return np.delete(values, position) if position < len(values) and values[position] == value else values


def _line(group: str, values: Array, value: float) -> str:
    if not len(values):
        return plain("strip.nobody", group=group or plain("strip.everybody"))
    above = int((values > value).sum())
    return plain("strip.line", group=group or plain("strip.everybody"), above=above, n=len(values))


def _svg(groups: dict[str, Array], value: float, ends: tuple[float, float], own: str, title: str) -> Markup:
    low, high = ends

    def place(values: Any) -> Any:
        return _LEFT + (np.asarray(values) - low) / (high - low) * (_WIDTH - _LEFT - 10)

    height = _ROW * len(groups) + 22
    parts = [
        Markup('<svg class="strip" viewBox="0 0 {} {}" role="img"><title>{}</title>').format(_WIDTH, height, title)
    ]
    for row, (group, values) in enumerate(groups.items()):
        bottom = _ROW * (row + 1) - 4
        parts.append(_row(group, place(values), bottom, group == own))
    x = float(place(value))
    base = _ROW * len(groups)
    parts.append(Markup('<path class="own" d="M{0:.1f} 0V{1}"/>').format(x, base - 4))
    for end in (low, high) if low else (low, (low + high) / 2, high):
        anchor = "end" if end == high else "middle"
        text = Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="{}">{}</text>')
        parts.append(text.format(float(place(end)), base + 14, anchor, f"{end:.3g}"))
    return Markup("").join([*parts, Markup("</svg>")])


def _row(group: str, places: Array, bottom: int, own: bool) -> Markup:
    """Ticks in bins, as high as people are many there: some hundred characters, however many people there are."""
    counts, edges = np.histogram(places, bins=_BINS, range=(_LEFT, _WIDTH - 10))
    most = max(int(counts.max(initial=0)), 1)
    # One person must be seen beside many.
    heights = np.where(counts > 0, np.clip(counts / most, 0.2, 1) * (_ROW - 8), 0)
    middles = (edges[:-1] + edges[1:]) / 2
    ticks = "".join(f"M{x:.1f} {bottom}v{-h:.1f}" for x, h in zip(middles, heights, strict=True) if h)
    label = group if len(group) <= _LONGEST else f"{group[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return Markup(
        '<text class="group{}" x="0" y="{}">{}</text><path class="line" d="M{} {}H{}"/><path class="ticks{}" d="{}"/>'
    ).format(" of-own" if own else "", bottom - 6, escape(label), _LEFT, bottom, _WIDTH - 10, " of-own" if own else "",
             ticks)  # fmt: skip
