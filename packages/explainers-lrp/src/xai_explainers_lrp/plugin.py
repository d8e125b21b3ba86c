"""The component ``lrp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from xai_core import Explainer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import Tensor, nn

    from xai_core import Attribution

__all__ = ["LRP"]

CompositeName = Literal["epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-alpha2-beta1", "epsilon-gamma-box"]


class LRP(Explainer):
    """Layer-wise relevance propagation (LRP): the logit divided among the voxels, layer by layer.

    The explained output is the relevance to begin with. Each layer hands its relevance down in proportion to
    what its inputs contributed (Bach et al. 2015, doi:10.1371/journal.pone.0130140); a composite names the
    rule of each kind of layer (Montavon et al. 2019, doi:10.1007/978-3-030-28954-6_10). Without biases the
    relevance of a volume sums to the output. A bias that a rule counts as a contribution keeps its share;
    ``details`` says how much was left.

    Works on a copy of the network whose batch normalisation is merged into the layer before it, whose sums
    are split in proportion to their summands, and whose functions and repeated modules are modules of their
    own. Batch normalisation that no convolution or linear layer feeds alone is an affine layer with the
    epsilon rule, in every composite. A network with a part that has no rule is refused, by name.

    Args:
        composite: ``"epsilon"``: the epsilon rule everywhere. The others have it in linear layers, and in
            convolutions ``"epsilon-plus"``: z+; ``"epsilon-plus-flat"``: z+, and flat in the first layer;
            ``"epsilon-alpha2-beta1"``: alpha-beta with 2 and 1; ``"epsilon-gamma-box"``: gamma, and box (z^B)
            in the first layer.
        epsilon: Added to the magnitude of the denominators of the epsilon rule; larger values are less noisy
            and lose relevance.
        gamma: How much more positive than negative weights count in the gamma rule.
        low: Lowest value that a voxel can have, for the box rule; None: the minimum of each volume and
            channel.
        high: Highest value that a voxel can have; None: the maximum of each volume and channel.
        ignore_bias: Whether the biases of convolutions are left out of the denominators, so that they take no
            relevance. Only for the composites with z+ or alpha-beta: without the bias the denominators of the
            others cross zero, and the map explodes. Linear layers and batch normalisation that is not merged
            keep theirs.

    Raises:
        ValueError: ``low`` is not below ``high``, or ``ignore_bias`` is asked of a composite that does not
            allow it.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "composite": {
                "type": "string",
                "enum": [
                    "epsilon",
                    "epsilon-plus",
                    "epsilon-plus-flat",
                    "epsilon-alpha2-beta1",
                    "epsilon-gamma-box",
                ],
                "default": "epsilon-plus",
                "description": "Which rule each kind of layer gets.",
            },
            "epsilon": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 1e-6,
                "description": "Added to the magnitude of the denominators of the epsilon rule.",
            },
            "gamma": {
                "type": "number",
                "minimum": 0,
                "default": 0.25,
                "description": "How much more positive than negative weights count in the gamma rule.",
            },
            "low": {
                "type": ["number", "null"],
                "default": None,
                "description": "Lowest value that a voxel can have, for the box rule; null: the minimum of "
                "each volume and channel.",
            },
            "high": {
                "type": ["number", "null"],
                "default": None,
                "description": "Highest value that a voxel can have, for the box rule; null: the maximum of "
                "each volume and channel.",
            },
            "ignore_bias": {
                "type": "boolean",
                "default": False,
                "description": "Whether biases of convolutions are left out of the denominators, so that "
                "they take no relevance; for epsilon-plus, epsilon-plus-flat and epsilon-alpha2-beta1.",
            },
        },
    }

    def __init__(
        self,
        *,
        composite: CompositeName = "epsilon-plus",
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        low: float | None = None,
        high: float | None = None,
        ignore_bias: bool = False,
    ) -> None:
        if low is not None and high is not None and low >= high:
            raise ValueError(f"low is {low}, which is not below high, {high}.")
        if ignore_bias and composite in ("epsilon", "epsilon-gamma-box"):
            raise ValueError(
                f"ignore_bias does not go with the composite {composite}: without the bias its denominators "
                "cross zero. Use epsilon-plus, epsilon-plus-flat or epsilon-alpha2-beta1."
            )
        self.composite = composite
        self.epsilon = epsilon
        self.gamma = gamma
        self.low = low
        self.high = high
        self.ignore_bias = ignore_bias

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the relevance of every voxel for one output of each volume.

        The network is explained as it acts in evaluation mode; the one that is given is neither run nor
        changed.

        Args:
            model: Maps [N, C, D, H, W] to [N, outputs].
            volumes: float32 [N, C, D, H, W], finite.
            target: int64 [N], each in 0..outputs-1; None: the highest logit, or the only output.

        Returns:
            The attribution; its ``details`` are, for each volume, ``sum_of_relevance``, ``output`` and their
            quotient ``conservation`` (None where the output is 0).

        Raises:
            InputError: A volume is not finite, a target is out of range, the network does not return [N,
                outputs], or a part of it has no rule; the message names it.
        """
        from ._attribute import attribute
        from ._rules import Settings

        settings = Settings(
            composite=self.composite,
            epsilon=self.epsilon,
            gamma=self.gamma,
            low=self.low,
            high=self.high,
            ignore_bias=self.ignore_bias,
        )
        return attribute(model, volumes, target, settings)
