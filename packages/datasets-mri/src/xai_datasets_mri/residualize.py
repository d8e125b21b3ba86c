"""The transform ``residualize``: takes the effects of covariates out of the scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from xai_core import ConfigError, Fold, Transform

from ._confound_schema import check_names, fit_on_column, fit_on_schema, names
from ._schema import parameters

if TYPE_CHECKING:
    import pandas as pd
    import torchio as tio

__all__ = ["Residualize"]


class Residualize(Transform):
    """Takes the effects of covariates (age, sex, head size ...) out of every voxel, as learnt from the controls.

    A linear model of each voxel is fitted to the controls of a fold's training part and applied to everybody: a scan
    becomes that of the same person with the controls' average covariates. Voxels must show the same place in
    everybody, and values must be comparable: put a common grid and a normalisation of intensities before it. The
    model is saved with the fold; validation and test people have no part in it.

    Source: Dukart, Schroeter & Mueller 2011, doi:10.1371/journal.pone.0022193.
    """

    config_schema = parameters(
        {
            "covariates": names("Covariates whose effects are removed: columns of the study's table.", minimum=1),
            "categorical": names("Covariates that are categories although they are numbers.", default=[]),
            "polynomial": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "integer", "minimum": 2, "maximum": 4},
                "default": None,
                "description": "Highest power by covariate, such as {age: 2}; null: all effects are linear.",
            },
            "fit_on": fit_on_schema("controls"),
            "missing": {
                "enum": ["error", "mean", "drop"],
                "default": "error",
                "description": "People without a covariate: refuse the study, take the mean (of a category: the most "
                "frequent level) of the people of the fit, or the same and leave them out of the fit (drop).",
            },
            "unknown": {
                "enum": ["error", "mean"],
                "default": "error",
                "description": "A level that nobody of the fit has (a new site): refuse it, or correct for the other "
                "covariates only (mean).",
            },
        }
    )

    def __init__(
        self,
        *,
        covariates: Sequence[str],
        categorical: Sequence[str] = (),
        polynomial: Mapping[str, int] | None = None,
        fit_on: str | Mapping[str, Any] = "controls",
        missing: Literal["error", "mean", "drop"] = "error",
        unknown: Literal["error", "mean"] = "error",
    ) -> None:
        check_names("residualize", covariates, categorical)
        powers = dict(polynomial or {})
        wrong = sorted(set(powers) - set(covariates)) + sorted(set(powers) & set(categorical))
        if wrong:
            raise ConfigError(f"residualize: polynomial names {wrong[0]}, which is no numeric covariate of it.")
        self.params: dict[str, Any] = {
            "covariates": list(covariates), "categorical": list(categorical), "polynomial": powers, "fit_on": fit_on,
            "missing": missing, "unknown": unknown,
        }  # fmt: skip

    def build(self) -> tio.Transform:
        """Return the transform; before ``fit`` it refuses every scan."""
        from ._residualize import ScanResidualize

        return ScanResidualize(**self.params)

    def covariates(self) -> Sequence[str]:
        """Return the covariates."""
        return list(self.params["covariates"])

    def fit_covariates(self) -> Sequence[str]:
        """Return the column that says who is fitted to, if there is one."""
        return fit_on_column(self.params["fit_on"])

    def check_study(self, table: pd.DataFrame, folds: Sequence[Fold], classes: Sequence[str] | None) -> None:
        """Refuse, before any scan is read, a study in which a fold's model cannot be fitted or applied.

        Raises:
            InputError: People lack a covariate, a covariate gives the class away, the effects cannot be told apart in
                a training part, or a person has a level that the fold's model does not know.
        """
        from ._confound_checks import check_study, warn_of_imprint
        from ._fit_people import who_fits
        from ._residualize import ScanResidualize

        transform = ScanResidualize(**self.params)
        used, unknown = self.params["covariates"], self.params["unknown"]
        allowed = () if self.params["missing"] == "error" else used
        check_study(
            "residualize", table, folds, classes, used, allowed, unknown, lambda rows: transform.design(rows)[0]
        )
        if self.params["fit_on"] != "all":
            who = who_fits(self.params["fit_on"])
            warn_of_imprint("residualize", table, folds, lambda rows: transform.design(rows)[0], who)
