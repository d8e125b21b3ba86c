"""The evaluators of this package. Light: torch loads when ``evaluate`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Evaluator

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["GroundTruth"]


class GroundTruth(Evaluator):
    """Where the relevance lies compared with the mask of the truth.

    The relevance of a voxel is r = max(R, 0) (``sign: positive``) or |R| (``absolute``), R summed over
    channels. Inside is the mask; outside is the rest of the region: of the brain, or of the volume. Scores:

    * ``density_inside``, ``density_outside``: mean of r over the voxels inside and outside.
    * ``density_ratio``: inside divided by outside; above 1 the map prefers the truth.
    * ``mass_accuracy``: share in [0, 1] of the region's total r that lies inside.
    * ``rank_accuracy``: share in [0, 1] of the K most relevant voxels of the region that lie inside, with K
      the size of the mask.
    * ``pointing_game``: 1 where the most relevant voxel lies inside, else 0.
    * ``auc``: probability that a voxel inside has a higher r than one outside, ties counting half; 0.5 is
      chance.
    * ``chance``: share of the region that the mask takes; what a map without information reaches in
      ``mass_accuracy``, ``rank_accuracy`` and ``pointing_game``.
    * ``background_share``: share in [0, 1] of the volume's total r that lies outside the brain.

    Among equal voxels the rank accuracy and the pointing game give the mean over all orders, so that a
    constant map scores ``chance``. All but ``background_share`` are None where there is no mask, or where
    nothing or everything of the region is inside. Ratios and shares are None where there is nothing to divide
    by: a map without positive relevance has no ``mass_accuracy``.

    The brain is every voxel that differs from the background in at least one channel, and every voxel of the
    mask. Background is the value that most of the volume's faces have, or its minimum where there is no such value.

    Sources: mass and rank accuracy: Arras et al., CLEVR-XAI, Information Fusion 2022; pointing game: Zhang et
    al., Top-down neural attention by excitation backprop, ECCV 2016.

    Args:
        sign: Which relevance counts: ``"positive"``, the evidence for the explained output, as in Arras et
            al.; ``"absolute"``: evidence for and against.
        region: Where "outside" ends: at the ``"brain"``, since a map gains nothing by leaving air dark, or at
            the edge of the ``"volume"``.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "sign": {
                "enum": ["positive", "absolute"],
                "default": "positive",
                "description": "Relevance that counts: positive (evidence for the explained output) or absolute.",
            },
            "region": {
                "enum": ["brain", "volume"],
                "default": "brain",
                "description": "Voxels that are compared with the mask's: the brain's (those that "
                "differ from the background) or all.",
            },
        },
    }

    def __init__(
        self,
        *,
        sign: Literal["positive", "absolute"] = "positive",
        region: Literal["brain", "volume"] = "brain",
    ) -> None:
        self.sign = sign
        self.region = region

    def evaluate(
        self,
        model: nn.Module,  # noqa: ARG002 - other evaluators ask the model, this one does not
        volumes: Tensor,
        attributions: Attribution,
        masks: Tensor | None,
    ) -> Sequence[Mapping[str, float | None]]:
        """Return the scores of the class's docstring for each volume; see ``Evaluator.evaluate``.

        Raises:
            InputError: Shapes do not fit together, or the relevance is not finite.
        """
        from ._ground_truth import evaluate

        return evaluate(volumes, attributions.relevance, masks, sign=self.sign, region=self.region)
