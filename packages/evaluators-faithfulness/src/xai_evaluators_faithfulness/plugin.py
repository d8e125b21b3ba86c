"""The evaluators of this package. Light: torch loads when ``evaluate`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Evaluator

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["GroundTruth", "RegionPerturbation"]


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


class RegionPerturbation(Evaluator):
    """How the network's output falls when the most relevant regions are replaced first, and the least relevant.

    The volume is divided into cubes; what they hold of the brain are the regions. They are replaced one after another:
    the one with the most relevance per voxel first (MoRF), last (LeRF), or in random orders. Step k of L has replaced
    as many whole regions as fit into the k-th part of the brain's voxels; f_k is the explained output then. (Regions
    at the brain's edge are small: by sums, and by their number, a constant map would look better than chance.) Scores:

    * ``aopc_morf``, ``aopc_lerf``, ``aopc_random``: area over the perturbation curve, the mean of f_0 - f_k over
      k = 0 ... L, in units of the output. A map that finds what the output depends on has a great MoRF and a small (or
      negative) LeRF. Of the random orders the mean.
    * ``area``: MoRF minus LeRF. Above 0 the map orders the regions rightly; 0 is chance.
    * ``relative_area``: ``area`` over the range of all outputs that were met, in [-1, 1]: to be compared between
      people and networks.
    * ``gain``: MoRF minus random.
    * ``output``, ``output_replaced``: f_0, and the output with every region replaced. ``regions``: how many there are.

    All that needs an order is None for a map with the same relevance per voxel in every region, and everything for a
    volume without brain. The order of equal regions is random; it and the random orders follow from the seed of the
    run, the scan and the evaluator's id, so that all explainers are compared with the same.

    A volume with replaced regions is unlike anything that the network was trained on, so that the output may also fall
    because of that: compare explainers with each other and with ``aopc_random`` of one ``replacement``, and see
    whether another one agrees. No score says whether the network is right; ``ground-truth`` does where the truth is
    known.

    Needs ``(random_orders + 2) * (steps + 1) + 1`` predictions a map.

    Sources: Samek et al., Evaluating the visualization of what a deep neural network has learned, IEEE Transactions on
    Neural Networks and Learning Systems 28, 2017; LeRF and the difference: Ancona et al., Towards better understanding
    of gradient-based attribution methods, ICLR 2018.

    Args:
        window: Edge of a cube in voxels, > 0.
        steps: Steps of a curve, > 0.
        share: Share in (0, 1] of the brain's voxels that is replaced in the end.
        replacement: What stands in the place of a replaced voxel of the brain: the ``"mean"`` of the brain's voxels of
            the channel, their ``"local-mean"`` in a cube of 2 ``window`` + 1 voxels, or the ``"background"``. Voxels
            outside of the brain stay.
        sign: ``"signed"``: evidence for the output first, evidence against it last; ``"absolute"``: what matters
            first, for maps without a sign.
        output: ``"logit"`` (of a regression the predicted value), which is what explainers explain, or the
            ``"probability"`` (softmax).
        random_orders: How many, > 0.
        batch_size: Volumes that the network gets at once, > 0.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "window": {
                "type": "integer",
                "minimum": 1,
                "default": 8,
                "description": "Edge of the cubes that are replaced, in voxels.",
            },
            "steps": {
                "type": "integer",
                "minimum": 1,
                "default": 20,
                "description": "Steps in which regions are replaced.",
            },
            "share": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": 1.0,
                "description": "Share of the brain's voxels that is replaced in the end.",
            },
            "replacement": {
                "enum": ["mean", "local-mean", "background"],
                "default": "mean",
                "description": "What replaces the brain's voxels: their mean, the mean around each, or background.",
            },
            "sign": {
                "enum": ["signed", "absolute"],
                "default": "signed",
                "description": "Order by relevance, evidence against the output last, or by its absolute value.",
            },
            "output": {
                "enum": ["logit", "probability"],
                "default": "logit",
                "description": "Output that is followed: the logit (regression: the value), or the probability.",
            },
            "random_orders": {
                "type": "integer",
                "minimum": 1,
                "default": 3,
                "description": "Random orders to compare with.",
            },
            "batch_size": {
                "type": "integer",
                "minimum": 1,
                "default": 4,
                "description": "Volumes that the network gets at once.",
            },
        },
    }

    def __init__(
        self,
        *,
        window: int = 8,
        steps: int = 20,
        share: float = 1.0,
        replacement: Literal["mean", "local-mean", "background"] = "mean",
        sign: Literal["signed", "absolute"] = "signed",
        output: Literal["logit", "probability"] = "logit",
        random_orders: int = 3,
        batch_size: int = 4,
    ) -> None:
        self.window = window
        self.steps = steps
        self.share = share
        self.replacement = replacement
        self.sign = sign
        self.output = output
        self.random_orders = random_orders
        self.batch_size = batch_size

    def evaluate(
        self,
        model: nn.Module,
        volumes: Tensor,
        attributions: Attribution,
        masks: Tensor | None,  # noqa: ARG002 - asks the network, not the truth
    ) -> Sequence[Mapping[str, float | None]]:
        """Return the scores of the class's docstring for each volume; see ``Evaluator.evaluate``.

        Raises:
            InputError: Shapes do not fit together, the relevance is not finite, or an output of the network is not.
        """
        from ._perturbation import Settings, evaluate

        settings = Settings(
            window=self.window,
            steps=self.steps,
            share=self.share,
            replacement=self.replacement,
            sign=self.sign,
            output=self.output,
            random_orders=self.random_orders,
            batch_size=self.batch_size,
        )
        return evaluate(model, volumes, attributions, settings)
