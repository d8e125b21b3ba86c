"""The transform ``harmonize``: makes the scans of several sites alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from xai_core import ConfigError, Fold, Transform

from ._confound_schema import check_names, fit_on_column, fit_on_schema, names
from ._schema import parameters

if TYPE_CHECKING:
    import pandas as pd
    import torchio as tio

__all__ = ["Harmonize"]


class Harmonize(Transform):
    """Makes scanners or sites alike, voxel by voxel (ComBat), as learnt from the training part.

    Each site's mean and spread, given the covariates to be preserved, are estimated with empirical Bayes over all
    voxels and taken out of its scans. Voxels must show the same place in everybody. A disease that is more frequent
    at one site is partly taken for the site. Fitting to the controls (``fit_on: controls``) avoids this, but then the
    errors of the estimates tell a network the site, and so the disease.

    Sources: Johnson, Li & Rabinovic 2007, doi:10.1093/biostatistics/kxj037; Fortin et al. 2018,
    doi:10.1016/j.neuroimage.2017.11.024.
    """

    config_schema = parameters(
        {
            "site": {
                "type": "string",
                "minLength": 1,
                "default": "site",
                "description": "Column of the study's table that names the site or scanner.",
            },
            "preserve": names("Covariates whose effects are kept, such as age and sex; never the target.", default=[]),
            "categorical": names("Those of them that are categories although they are numbers.", default=[]),
            "empirical_bayes": {
                "type": "boolean",
                "default": True,
                "description": "Shrink the estimates of each voxel towards those of all; wise with few people at a "
                "site.",
            },
            "scale": {
                "type": "boolean",
                "default": True,
                "description": "Harmonise the spread between people, too, not only the mean.",
            },
            "fit_on": fit_on_schema("all"),
            "missing": {
                "enum": ["error", "mean"],
                "default": "error",
                "description": "People without a covariate to be preserved: refuse the study, or take the mean (of a "
                "category: the most frequent level) of the people of the fit.",
            },
            "unknown": {
                "enum": ["error", "leave"],
                "default": "error",
                "description": "A site that nobody of the fit has: refuse it, or leave its scans as they are.",
            },
        }
    )

    def __init__(
        self,
        *,
        site: str = "site",
        preserve: Sequence[str] = (),
        categorical: Sequence[str] = (),
        empirical_bayes: bool = True,
        scale: bool = True,
        fit_on: str | Mapping[str, Any] = "all",
        missing: Literal["error", "mean"] = "error",
        unknown: Literal["error", "leave"] = "error",
    ) -> None:
        check_names("harmonize", [site, *preserve], categorical)
        if site in preserve:
            raise ConfigError(f"harmonize: {site} is the site; its effect cannot be preserved.")
        self.params: dict[str, Any] = {
            "site": site, "preserve": list(preserve), "categorical": list(categorical),
            "empirical_bayes": empirical_bayes, "scale": scale, "fit_on": fit_on, "missing": missing,
            "unknown": unknown,
        }  # fmt: skip

    def build(self) -> tio.Transform:
        """Return the transform; before ``fit`` it refuses every scan."""
        from ._harmonize import ScanHarmonize

        return ScanHarmonize(**self.params)

    def covariates(self) -> Sequence[str]:
        """Return the site and the covariates to be preserved."""
        return [self.params["site"], *self.params["preserve"]]

    def fit_covariates(self) -> Sequence[str]:
        """Return the column that says who is fitted to, if there is one."""
        return fit_on_column(self.params["fit_on"])

    def check_study(self, table: pd.DataFrame, folds: Sequence[Fold], classes: Sequence[str] | None) -> None:
        """Refuse, before any scan is read, a study in which a fold cannot be harmonised.

        Raises:
            InputError: People lack a site or a covariate, one of these gives the class away, a site has a single
                person in a training part, or a person's site is unknown to the fold.
        """
        from ._confound_checks import check_study, warn_of_imprint
        from ._design import Design
        from ._fit_people import who_fits
        from ._harmonize import ScanHarmonize

        transform = ScanHarmonize(**self.params)
        allowed = () if self.params["missing"] == "error" else self.params["preserve"]
        used = [self.params["site"], *self.params["preserve"]]
        unknown = self.params["unknown"]
        check_study("harmonize", table, folds, classes, used, allowed, unknown, lambda rows: transform.design(rows)[0])
        if self.params["fit_on"] != "all":
            site, who = self.params["site"], who_fits(self.params["fit_on"])
            warn_of_imprint("harmonize", table, folds, lambda rows: Design.fit(rows, [site], [site], {}), who)
