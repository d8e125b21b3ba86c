"""What the page offers (people, networks, explainers, covariates), and whether a request is one of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xai_core import InputError, registry
from xai_core.engine.results import ENSEMBLE, RunResults

from .channels import channel_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Offer", "Wanted"]

_LISTED = 30  # values of a covariate that are offered
_LONGEST = 200  # characters of a covariate's value
_KEYS = {"person", "uploads", "covariates", "fold", "explainers", "target", "allow"}


@dataclass(frozen=True)
class Wanted:
    """A request of the page, checked.

    Attributes:
        person: ``scan_id`` of a scan of the run; None: uploads.
        uploads: Keys of uploads, a file for each channel.
        covariates: By name; texts or numbers.
        fold: A number or ``"all"``.
        explainers: Ids.
        target: Class; None: the predicted one.
        allow: Also people whom the network was trained on.
    """

    person: str | None
    uploads: list[str]
    covariates: dict[str, Any]
    fold: Any
    explainers: list[str]
    target: str | None
    allow: bool


class Offer:
    """What can be asked of a run.

    Args:
        results: The run folder.

    Raises:
        InputError: It has no trained networks, or no explainers.
    """

    def __init__(self, results: RunResults) -> None:
        self.results = results
        if (results.folder / ENSEMBLE).is_file():
            raise InputError(f"{results.folder} is an ensemble of runs and has no networks. Serve one of its runs.")
        self.config = results.config
        self.explainers = [str(slot["id"]) for slot in self.config.get("explainers") or []]
        self.folds = results.folds()
        self.classes = results.classes
        self.channels = results.channels or ("",)
        if not self.folds:
            raise InputError(f"{results.folder} has no trained fold. Run 'xai run' on its pipeline.resolved.yaml.")
        if not self.explainers:
            raise InputError(
                f"{results.folder} has no explainers. Add some to its pipeline and run 'xai run' again, or take "
                "'xai predict'."
            )

    @cached_property
    def _subjects(self) -> pd.DataFrame:
        return self.results.subjects()

    @cached_property
    def covariates(self) -> list[dict[str, Any]]:
        """What the transforms of the run read: name, and the study's range or values."""
        slots = self.config["data"].get("transforms") or []
        made = [registry.create("transform", slot["name"], **slot["params"]) for slot in slots]
        names = dict.fromkeys(name for transform in made for name in transform.covariates())
        return [self._covariate(name) for name in names]

    def _covariate(self, name: str) -> dict[str, Any]:
        import pandas as pd

        if name not in self._subjects:
            return {"name": name, "values": []}
        known = self._subjects[name].dropna()
        if pd.api.types.is_numeric_dtype(known) and len(known):
            return {"name": name, "low": float(known.min()), "high": float(known.max())}
        return {"name": name, "values": sorted(map(str, known.unique()))[:_LISTED]}

    @cached_property
    def people(self) -> list[dict[str, Any]]:
        """Scans of the run: id, person, class or value, covariates, and the folds whose network has not seen them."""
        splits = self.results.splits()
        unseen = splits[splits["part"].isin(["test", "held_out"]) & splits["fold"].isin(self.folds)]
        tested = unseen.groupby("subject_id")["fold"].unique().to_dict()
        names = [one["name"] for one in self.covariates]
        return [
            {
                "id": str(row["scan_id"]),
                "subject": str(row["subject_id"]),
                "target": _plain(row["target"]),
                "covariates": {name: _plain(row.get(name)) for name in names},
                "folds": sorted(int(fold) for fold in tested.get(row["subject_id"], ())),
            }
            for row in self._subjects.to_dict("records")
            if self._files(row)
        ]

    def _files(self, row: Mapping[Any, Any]) -> list[str]:
        """Return the files of a scan's channels; none where the study did not read it from files."""
        columns = ["image"] if self.channels == ("",) else [f"image_{name}" for name in self.channels]
        found = [row.get(column) for column in columns]
        return [str(path) for path in found] if all(isinstance(path, str) and path for path in found) else []

    def images_of(self, scan: str) -> list[str]:
        """Return the files of a scan of the run."""
        rows = {str(row["scan_id"]): row for row in self._subjects.to_dict("records")}
        return self._files(rows[scan])

    def who(self, scan: str) -> dict[str, Any]:
        """Return what sidecars say of whose scan it is, as those of the run do: its file may have any name."""
        row = next(row for row in self._subjects.to_dict("records") if str(row["scan_id"]) == scan)
        return {name: _plain(row.get(name)) for name in ("scan_id", "subject_id", "session_id")}

    @cached_property
    def words(self) -> list[list[str]]:
        """By which the name of a file tells its channel; see ``channel_words``."""
        return channel_words(self.channels, self._subjects.to_dict("records")) if len(self.channels) > 1 else [[]]

    def has_mask(self, scan: str) -> bool:
        """Whether the study gives this scan a mask."""
        if "mask" not in self._subjects:
            return False
        return bool(self._subjects.set_index("scan_id")["mask"].notna().to_dict()[scan])

    def as_json(self) -> dict[str, Any]:
        """Return what the page needs to ask."""
        return {
            "explainers": self.explainers,
            "folds": self.folds,
            "classes": None if self.classes is None else list(self.classes),
            "channels": list(self.channels),
            "words": self.words,
            "covariates": self.covariates,
            "people": self.people,
        }

    def read(self, given: Any) -> Wanted:
        """Check a request.

        Raises:
            InputError: All that is wrong with it.
        """
        if not isinstance(given, dict):
            raise InputError("The request must be a JSON object.")
        problems = [f"{name!r} is not known." for name in sorted(set(map(str, given)) - _KEYS)]
        problems += self._source_problems(given) + self._choice_problems(given)
        problems += self._covariate_problems(given.get("covariates", {}))
        if problems:
            raise InputError(" ".join(problems))
        covariates = {name: value for name, value in given.get("covariates", {}).items() if value not in ("", None)}
        return Wanted(
            given.get("person"), given.get("uploads") or [], covariates, given.get("fold", self.folds[0]),
            given.get("explainers") or self.explainers, given.get("target"), given.get("allow", False),
        )  # fmt: skip

    def _source_problems(self, given: Mapping[str, Any]) -> list[str]:
        person, uploads = given.get("person"), given.get("uploads") or []
        if person is not None:
            if uploads:
                return ["Give a person or files, not both."]
            known = isinstance(person, str) and any(one["id"] == person for one in self.people)
            return [] if known else ["The run has no such person with a file."]
        if not isinstance(uploads, list) or not all(isinstance(key, str) for key in uploads):
            return ["'uploads' must be a list of texts."]
        if len(uploads) != len(self.channels):
            names = ", ".join(name for name in self.channels if name)
            return [f"Give {len(self.channels)} file{'s' if len(self.channels) > 1 else ''}{names and ': ' + names}."]
        return []

    def _choice_problems(self, given: Mapping[str, Any]) -> list[str]:
        problems = []
        fold, explainers, target = given.get("fold", self.folds[0]), given.get("explainers", []), given.get("target")
        if not (_is_one_of(fold, self.folds) or (fold == "all" and len(self.folds) > 1)):
            problems.append(f"There is no such fold. Trained: {', '.join(map(str, self.folds))}.")
        if not isinstance(explainers, list) or not all(_is_one_of(name, self.explainers) for name in explainers):
            problems.append(f"There is no such explainer. The run has: {', '.join(self.explainers)}.")
        if target is not None and not _is_one_of(target, self.classes or ()):
            problems.append(f"There is no such class. The run has: {', '.join(self.classes or ('none',))}.")
        if not isinstance(given.get("allow", False), bool):
            problems.append("'allow' must be true or false.")
        return problems

    def _covariate_problems(self, given: Any) -> list[str]:
        names = [one["name"] for one in self.covariates]
        if not isinstance(given, dict) or not all(_is_value(value) for value in given.values()):
            return [f"'covariates' must be an object of numbers and of texts of up to {_LONGEST} characters."]
        return [
            f"The preprocessing of this run reads no covariate {name!r}. It reads: {', '.join(names) or 'none'}."
            for name in given
            if name not in names
        ]

    def beyond(self, covariates: Mapping[str, Any]) -> list[str]:
        """Return a warning for each covariate outside of the study's range."""
        found = []
        for one in self.covariates:
            number = _number(covariates.get(one["name"]))
            if number is not None and "low" in one and not one["low"] <= number <= one["high"]:
                found.append(
                    f"{one['name']} {number:g} lies outside of the study's {one['low']:g} to {one['high']:g}: what the "
                    "preprocessing makes of it is an extrapolation."
                )
        return found


def _is_one_of(value: Any, known: Sequence[Any]) -> bool:
    return not isinstance(value, bool) and isinstance(value, str | int) and value in known


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    """Return a value of a table as JSON holds it; None where it is missing."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    if number != number:
        return None
    return int(number) if number.is_integer() else number
