"""Components of our own distributions, for the message about one that is not installed."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KNOWN_PLUGINS"]

_BY_DISTRIBUTION = {
    "xai-models-resnet3d": {"model": "resnet3d"},
    "xai-models-monai": {
        "model": "monai-resnet monai-densenet monai-senet monai-efficientnet monai-vit monai-classifier "
        "monai-regressor",
    },
    "xai-models-brainage": {
        "model": "singh2023-alexnet singh2023-vgg singh2023-resnet singh2023-densenet dyrba2021 mrinet sfcn",
    },
    "xai-models-keras": {"model": "keras"},
    "xai-explainers-lrp": {"explainer": "lrp"},
    "xai-explainers-gradcam": {
        "explainer": "gradcam gradcam-plus-plus layer-cam guided-gradcam guided-backpropagation deconvolution gradient "
        "saliency input-x-gradient smoothgrad integrated-gradients gradient-shap deeplift occlusion feature-ablation",
    },
    "xai-datasets-mri": {
        "dataset": "participants cohorts simulated-atrophy",
        "splitter": "holdout stratified-kfold sklearn-stratified-kfold repeated-kfold nested-kfold leave-one-site-out "
        "split-file",
        "transform": "to-canonical to-orientation resample resize crop-or-pad crop pad mni-grid mni-brain "
        "brain-extraction n4-bias-correction register-to-mni crop-to-brain z-normalization rescale-intensity "
        "percentile-clip histogram-standardization clamp smooth blur residualize harmonize random-affine "
        "random-bias-field random-blur random-elastic-deformation random-flip random-gamma random-noise random-shift",
    },
    "xai-trainers-lightning": {"trainer": "lightning as-stored"},
    "xai-evaluators-faithfulness": {"evaluator": "ground-truth region-perturbation"},
    "xai-analyses-atlas": {
        "analysis": "group-maps region-table normative-scores agreement group-contrasts map-similarity "
        "voxel-features region-features region-figures",
    },
    "xai-reports-html": {"report": "html"},
}

KNOWN_PLUGINS: Mapping[tuple[str, str], str] = {
    (kind, name): distribution
    for distribution, kinds in _BY_DISTRIBUTION.items()
    for kind, names in kinds.items()
    for name in names.split()
}
