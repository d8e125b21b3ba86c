"""Which region of an atlas a name in a table means."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from xai_core import InputError
from xai_core.schemas import did_you_mean

if TYPE_CHECKING:
    from .._atlases import Region

__all__ = ["Side", "matched", "region_key"]

log = logging.getLogger("xai")

Side = Literal["L", "R"]

_SIDES: Mapping[str, Side] = {"lh": "L", "left": "L", "l": "L", "rh": "R", "right": "R", "r": "R"}
# What stands before or behind a structure: ctx-lh-entorhinal, lh_entorhinal, Left-Hippocampus, hippocampus (right),
# Hippocampus_L. White matter below a gyrus (wm-lh-entorhinal) is another region than the gyrus and keeps its wm.
_BEFORE = re.compile(r"^(?:ctx[-_. ])?(lh|rh|left|right|l|r)[-_. ]+(.+)$", re.IGNORECASE)
_WHITE = re.compile(r"^wm[-_. ](lh|rh)[-_. ](.+)$", re.IGNORECASE)
_BEHIND = re.compile(r"^(.+?)[-_. ,(]+(left|right|lh|rh|l|r)\)?$", re.IGNORECASE)
_CAMEL = re.compile(r"^(l|r|lh|rh|[Ll]eft|[Rr]ight)([A-Z].*)$")  # CAT12's lHip
_SAME = {
    "thalamusproper": "thalamus",
    "accumbensarea": "accumbens",
    "nucleusaccumbens": "accumbens",
    "inflatvent": "inferiorlateralventricle",
    "inflatventricle": "inferiorlateralventricle",
    "latvent": "lateralventricle",
    "bankssuperiortemporalsulcus": "bankssts",
    # CAT12's abbreviations of what is the same in every atlas.
    "hip": "hippocampus",
    "amy": "amygdala",
    "put": "putamen",
    "cau": "caudate",
    "caunuc": "caudate",
    "pal": "pallidum",
    "tha": "thalamus",
    "thapro": "thalamus",
    "accnuc": "accumbens",
    "bst": "brainstem",
    "latven": "lateralventricle",
    "inflatven": "inferiorlateralventricle",
}


def region_key(name: str) -> tuple[Side | None, str]:
    """Return the side that a name states and what is left of it, without case, separators and usual variants.

    ``Left-Hippocampus``, ``lh_hippocampus``, ``Hippocampus_L`` and ``left hippocampus`` are all ``("L",
    "hippocampus")``.
    """
    text = name.strip()
    white = _WHITE.match(text)
    if white:
        return _SIDES[white.group(1).lower()], "wm" + _plain(white.group(2))
    camel, before, behind = _CAMEL.match(text), _BEFORE.match(text), _BEHIND.match(text)
    if before:
        return _SIDES[before.group(1).lower()], _plain(before.group(2))
    if behind:
        return _SIDES[behind.group(2).lower()], _plain(behind.group(1))
    if camel:
        return _SIDES[camel.group(1).lower()], _plain(camel.group(2))
    return None, _plain(text)


def _plain(text: str) -> str:
    text = re.sub(r"^ctx[-_. ]", "", text.lower()).replace("&", " and ")
    letters = re.sub(r"[^a-z0-9]", "", text)
    return _SAME.get(letters, letters)


def matched(
    names: Sequence[str],
    regions: Sequence[Region],
    renamed: Mapping[str, str],
    where: str,
    owners: Mapping[str, Collection[Hashable]] | None = None,
) -> dict[str, Region | None]:
    """Return the region of an atlas that each name means, or None where there is none.

    A name that is spelled as a region's wins; otherwise side and structure must agree. A name without a side is no
    region of one side: it may be the sum of both.

    Args:
        names: As in a table.
        regions: Of the atlas.
        renamed: Names of the atlas' regions by names of the table, as the user gave them; they win.
        where: Names the table in a message.
        owners: Who has a value under each name. Two names may mean one region where nobody has both, as where files
            come from two versions of FreeSurfer; a warning says so. None: everybody has all.

    Raises:
        InputError: ``renamed`` names a region that does not exist or a name that is not in the table, a name means
            several regions, or several names of one person mean one.
    """
    spelled = {region.name: region for region in regions}
    _check_renamed(names, spelled, renamed, where)
    by_key: dict[tuple[Side | None, str], list[Region]] = {}
    for region in regions:
        for key in {region_key(region.name), (region.hemisphere, region_key(region.structure)[1])}:
            by_key.setdefault(key, []).append(region)
    found: dict[str, Region | None] = {}
    problems = []
    for name in names:
        wanted = renamed.get(name, name)
        candidates = [spelled[wanted]] if wanted in spelled else by_key.get(region_key(wanted), [])
        if len(candidates) > 1:
            problems.append(f"{name!r} may be {' or '.join(repr(region.name) for region in candidates)}")
        found[name] = candidates[0] if len(candidates) == 1 else None
    problems += _claimed_twice(found, owners, where)
    if problems:
        raise InputError(
            f"{where}: {'; '.join(problems)}. Say which region is meant by 'regions', such as "
            f"regions: {{{next(iter(names))}: {regions[0].name}}}."
        )
    return found


def _check_renamed(names: Sequence[str], spelled: Mapping[str, Region], renamed: Mapping[str, str], where: str) -> None:
    problems = [
        f"the atlas has no region {region!r}.{did_you_mean(region, list(spelled))}"
        for region in renamed.values()
        if region not in spelled
    ]
    problems += [
        f"there is no region {name!r} in it.{did_you_mean(name, list(names))}" for name in renamed if name not in names
    ]
    if problems:
        raise InputError(f"{where}, regions: " + " ".join(problems))


def _claimed_twice(
    found: Mapping[str, Region | None], owners: Mapping[str, Collection[Hashable]] | None, where: str
) -> list[str]:
    claims: dict[str, list[str]] = {}
    for name, region in found.items():
        if region is not None:
            claims.setdefault(region.name, []).append(name)
    problems = []
    for region_name, several in claims.items():
        names = " and ".join(map(repr, several))
        if owners is None or any(not set(owners[a]).isdisjoint(owners[b]) for a, b in combinations(several, 2)):
            problems += [f"{names} both mean {region_name!r}"] if several[1:] else []
        elif several[1:]:
            counts = ", ".join(f"{name!r} in {len(owners[name])} scans" for name in several)
            log.warning(
                "%s: %s goes by several names: %s. Files of several versions of a program? Their volumes may differ: "
                "take version or site as a covariate.", where, region_name, counts,
            )  # fmt: skip
    return problems
