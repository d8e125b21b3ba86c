"""The component ``lrp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from xai_core import Explainer

from .parameters import CONFIG_SCHEMA, check_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from torch import Tensor, nn

    from xai_core import Attribution

    from ._settings import Settings

__all__ = ["LRP"]

CompositeName = Literal[
    "epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-alpha2-beta1", "epsilon-alpha2-beta1-flat",
    "epsilon-gamma", "epsilon-gamma-box", "sequential-preset-a", "sequential-preset-b",
    "innvestigate-sequential-preset-a", "innvestigate-sequential-preset-b", "innvestigate-epsilon", "innvestigate-z",
    "innvestigate-alpha1-beta0",
]  # fmt: skip


class LRP(Explainer):
    """Layer-wise relevance propagation (LRP): the logit divided among the voxels, layer by layer.

    The explained output is the relevance to begin with. Each layer hands its relevance down in proportion to
    what its inputs contributed (Bach et al. 2015, doi:10.1371/journal.pone.0130140); a composite names the
    rule of each kind of layer (Montavon et al. 2019, doi:10.1007/978-3-030-28954-6_10). Without biases the
    relevance of a volume sums to the output. A bias that a rule counts as a contribution keeps its share;
    ``details`` says how much was left.

    Works on the network's canonical form (``xai_core.canonical``): batch normalisation is merged into the layer
    before it or behind it, functions and repeated modules are modules of their own. Batch normalisation that stands
    alone is an affine layer with the epsilon rule, in every composite; sums and averages are split in proportion to
    their parts; where a sigmoid gates a signal, the signal takes the relevance (Arras et al. 2017,
    doi:10.18653/v1/W17-5221). A network with a part that has no rule is refused, by name.

    Args:
        composite: ``"epsilon"``: the epsilon rule everywhere. The others have it in linear layers, and in
            convolutions ``"epsilon-plus"``: z+, which is alpha-beta with 1 and 0; ``"epsilon-alpha2-beta1"``:
            alpha-beta with 2 and 1; ``"epsilon-gamma"``: gamma. ``-flat`` and ``-box`` have flat or box (z^B) in
            the first layer. ``"sequential-preset-a"`` and ``-b`` are iNNvestigate's names for epsilon-plus and
            epsilon-alpha2-beta1. ``"innvestigate-..."`` gives iNNvestigate 2.1.2's own maps back, with its mistakes,
            for comparison with published ones only: the whole bias in every denominator, a wrong stand-in for batch
            normalisation, gradients where it has no rule (``_innvestigate`` lists them). Its maps do not conserve
            relevance. That library's epsilon is 0.1 by default; give the one that was used.
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
        rules: Other rules for some layers, ``{"layers": "layer4.*", "rule": "gamma", "gamma": 0.1}``; ``layers`` is
            a pattern of module names as in ``model.named_modules()`` (``*`` stands for anything), ``rule`` one of
            epsilon, gamma, z-plus, alpha-beta (with ``alpha`` and ``beta``), flat, w-square, z-box, pass. The last
            entry that fits a layer counts. ``pass`` also lets relevance pass a layer without a rule unchanged, such
            as instance normalisation (Achtibat et al. 2024, arXiv 2402.05602).
        start: What relevance begins with: ``"logit"``: the output; ``"one"``; ``"probability"``: its softmax.
        contrast: Explain the output less another one: an index, or ``"rest"``: the mean of all others.
        reference: For a regression: begin with output - reference, so that the map's sign says on which side of it
            the prediction lies. The division among the voxels is that of the output.
        layer_sums: Whether ``details`` holds the sum of relevance of every layer, with its rule.

    Raises:
        ValueError: The parameters contradict each other.
    """

    config_schema: ClassVar[Mapping[str, Any]] = CONFIG_SCHEMA

    def __init__(
        self,
        *,
        composite: CompositeName = "epsilon-plus",
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        low: float | None = None,
        high: float | None = None,
        ignore_bias: bool = False,
        rules: Sequence[Mapping[str, Any]] | None = None,
        start: Literal["logit", "one", "probability"] = "logit",
        contrast: int | Literal["rest"] | None = None,
        reference: float | None = None,
        layer_sums: bool = False,
    ) -> None:
        if low is not None and high is not None and low >= high:
            raise ValueError(f"low is {low}, which is not below high, {high}.")
        if composite.startswith("innvestigate-") and (rules or ignore_bias):
            raise ValueError(f"{composite} is as iNNvestigate computes it; rules and ignore_bias go with the others.")
        if ignore_bias and composite in ("epsilon", "epsilon-gamma", "epsilon-gamma-box"):
            raise ValueError(
                f"ignore_bias does not go with the composite {composite}: without the bias its denominators "
                "cross zero. Use epsilon-plus or epsilon-alpha2-beta1."
            )
        if start != "logit" and (contrast is not None or reference is not None):
            raise ValueError("contrast and reference begin with the outputs; give start: logit, or leave them out.")
        if contrast is not None and reference is not None:
            raise ValueError("contrast is for classes and reference for a regression; give one of them.")
        for row in rules or ():
            check_row(row)
        self.composite = composite
        self.epsilon = epsilon
        self.gamma = gamma
        self.low = low
        self.high = high
        self.ignore_bias = ignore_bias
        self.rules = rules
        self.start = start
        self.contrast = contrast
        self.reference = reference
        self.layer_sums = layer_sums

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the relevance of every voxel for one output of each volume.

        The network is explained as it acts in evaluation mode; the one that is given is neither run nor
        changed.

        Args:
            model: Maps [N, C, D, H, W] to [N, outputs].
            volumes: float32 [N, C, D, H, W], finite.
            target: int64 [N], each in 0..outputs-1; None: the highest logit, or the only output.

        Returns:
            The attribution; each of its ``details`` holds ``conservation``: ``sum_of_relevance``, ``output``,
            ``start`` (the relevance to begin with), ``ratio`` (sum / start), ``absorbed_by_biases``,
            ``absorbed_by_epsilon``, ``unexplained`` (what is left of start), ``unexplained_share`` of start, and on
            request ``layers``. Ratio and share are None where start is 0.

        Raises:
            InputError: A volume is not finite, a target is out of range, the network does not return [N,
                outputs], or a part of it has no rule; the message names it.
        """
        from ._attribute import attribute

        return attribute(model, volumes, target, self._settings())

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse a network with parts that have no rule, or that these rules do not fit; see ``Explainer``."""
        from ._attribute import check_model

        check_model(model, volumes, self._settings())

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Test that relevance sums to what it began with where no layer has a bias; see ``Explainer.self_check``."""
        from ._check import check

        return check(model, volumes, self._settings())

    def _settings(self) -> Settings:
        from ._settings import Settings

        return Settings(
            composite=self.composite,
            epsilon=self.epsilon,
            gamma=self.gamma,
            low=self.low,
            high=self.high,
            ignore_bias=self.ignore_bias,
            rules=tuple(self.rules or ()),
            start=self.start,
            contrast=self.contrast,
            reference=self.reference,
            layer_sums=self.layer_sums,
        )
